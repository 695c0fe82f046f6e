"""A broker in memory, and an event loop with virtual time: tests of the gateway without RabbitMQ.

The gateway itself never imports this package. It is no replacement for RabbitMQ: nothing is stored,
and there is one virtual host.
"""
