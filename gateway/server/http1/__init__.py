"""HTTP/1.1 on asyncio: the gateway's own server, on httptools."""
