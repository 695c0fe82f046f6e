"""The edge as an ASGI application: which endpoint, what it is asked, how it is answered."""
