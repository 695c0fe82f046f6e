"""A soak test: requests of many kinds, random faults, and an account of every message."""
