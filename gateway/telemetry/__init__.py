"""The log. Counters and traces will be here, too."""
