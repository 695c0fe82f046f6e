"""``gateway demo``: the main job on a real RabbitMQ, for people to look at. Development only."""
