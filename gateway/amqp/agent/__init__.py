"""``async/amqp``: the messages of a queue as requests without a client."""
