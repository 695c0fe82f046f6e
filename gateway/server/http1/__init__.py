"""HTTP/1.1 on asyncio: our protocol on httptools, run by uvicorn."""
