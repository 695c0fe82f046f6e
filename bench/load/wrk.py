"""wrk: a closed loop that needs much less CPU than ours, to measure the maximum throughput."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from .own import LoadError
from .plan import Request

MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}

SCRIPT = """
local requests, at = {%s}, 0
request = function()
  at = at %% #requests + 1
  return requests[at]
end
"""


def is_present() -> bool:
    return shutil.which("wrk") is not None


def run_wrk(
    port: int, requests: list[Request], number: int, connections: int, seconds: float, folder: Path
) -> tuple[int, float, dict[int, int], str]:
    """Count of responses, seconds, count by status (0: failed; wrk does not say how), and wrk's
    output. Every numbered request has the same ``number``. Raises :class:`LoadError`."""
    script = folder / "requests.lua"
    script.write_bytes(lua(requests, number))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "10s"]
    done = subprocess.run(
        [*command, "-s", script, f"http://127.0.0.1:{port}/"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LoadError(f"wrk: {done.stderr or done.stdout}")
    return (*parsed(done.stdout), done.stdout)


def parsed(text: str) -> tuple[int, float, dict[int, int]]:
    total = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", text)
    if total is None:
        raise LoadError(f"wrk: {text}")
    responses, seconds = int(total[1]), float(total[2]) * MILLISECONDS[total[3]] / 1e3
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text
    )
    failed = int(bad[1]) if bad else 0
    no_response = sum(map(int, broken.groups())) if broken else 0
    statuses = {200: responses - failed}
    if failed + no_response:
        statuses[0] = failed + no_response
    return responses, seconds, statuses


def lua(requests: list[Request], number: int) -> bytes:
    """The script. Each request is in it as often as its weight."""
    texts = [_quoted(each.as_bytes(number)) for each in requests for _ in range(each.weight)]
    return SCRIPT.encode() % b",".join(texts)


def _quoted(text: bytes) -> bytes:
    escaped = text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'"%b"' % escaped.replace(b"\r", b"\\r").replace(b"\n", b"\\n")
