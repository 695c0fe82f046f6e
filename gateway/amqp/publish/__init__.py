"""``backend/amqp/producer``: from a request to a message that the broker has confirmed."""
