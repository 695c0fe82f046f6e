"""HTTP/1.1 on asyncio: a protocol of the gateway on httptools, run by uvicorn."""
