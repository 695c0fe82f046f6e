"""Everything RabbitMQ. The only folder that imports aiormq and pamqp."""
