"""``backend/amqp/consumer``: from a queue to the response of a backend."""
