"""TLS of both sides: what is allowed, what clients see, what backends see."""
