"""TLS towards clients and towards backends."""
