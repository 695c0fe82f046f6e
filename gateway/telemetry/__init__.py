"""The gateway's loggers. Counters and traces do not exist yet."""
