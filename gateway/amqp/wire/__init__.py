"""AMQP 0-9-1 as bytes. Pure: no socket, no event loop."""
