"""``gateway demo``: shows the gateway's main job on a real RabbitMQ. Not for production."""
