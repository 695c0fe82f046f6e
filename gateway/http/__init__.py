"""Backends that are services with HTTP, the default of ``backend``."""
