"""HTTP/1.1 and HTTP/2 by hypercorn, on asyncio and Trio."""
