"""A closed loop: every connection sends its next request when the last one is answered.

``wrk`` when it is there; else a loop of our own, which costs more CPU than it should beside the
gateway on a small machine.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time
from urllib.parse import urlsplit

from msgspec import Struct

MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


class Load(Struct, frozen=True):
    """What the clients saw. Latencies in milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    failures: int

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def saturate(url: str, connections: int, seconds: float) -> Load:
    """As many requests as ``connections`` can have answered in ``seconds``."""
    if shutil.which("wrk"):
        return _with_wrk(url, connections, seconds)
    return asyncio.run(_with_our_own(url, connections, seconds))


def _with_wrk(url: str, connections: int, seconds: float) -> Load:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    total = re.search(r"(\d+) requests in ([\d.]+)(m?s|m)", text)
    assert total is not None, text
    failures = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    errors = re.search(r"Socket errors: .*", text)
    assert errors is None, errors[0] if errors else ""
    return Load(
        requests=int(total[1]),
        seconds=float(total[2]) * MILLISECONDS[total[3]] / 1e3,
        p50=_percentile(text, 50),
        p99=_percentile(text, 99),
        failures=int(failures[1]) if failures else 0,
    )


def _percentile(text: str, percent: int) -> float:
    found = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s|m)", text)
    assert found is not None, text
    return float(found[1]) * MILLISECONDS[found[2]]


async def _with_our_own(url: str, connections: int, seconds: float) -> Load:
    parts = urlsplit(url)
    request = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    latencies: list[float] = []
    failures = 0
    end = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal failures
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while (began := time.perf_counter()) < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            await reader.readexactly(int(length[1]) if length else 0)
            latencies.append((time.perf_counter() - began) * 1e3)
            failures += not head.startswith(b"HTTP/1.1 200")
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    latencies.sort()
    return Load(
        requests=len(latencies),
        seconds=seconds,
        p50=latencies[len(latencies) // 2],
        p99=latencies[len(latencies) * 99 // 100],
        failures=failures,
    )
