"""k6 confirms the figures of our own generator: another generator at the same rate."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from msgspec import Struct

from ..messages import message
from ..scenario import Call
from .histogram import Percentiles
from .own import LoadError

SCRIPT = """
import http from "k6/http";
const calls = %(calls)s;
export const options = {
  scenarios: {only: {
    executor: "constant-arrival-rate", rate: %(rate)d, timeUnit: "1s", duration: "%(seconds)gs",
    preAllocatedVUs: %(connections)d, maxVUs: %(most)d,
  }},
  summaryTrendStats: ["med", "p(90)", "p(99)", "p(99.9)", "max"],
  discardResponseBodies: true,
};
export default function () {
  const call = calls[__ITER %% calls.length];
  http.request(call.method, "http://127.0.0.1:%(port)d" + call.path, call.body, {
    headers: call.headers,
  });
}
"""


class K6Result(Struct, frozen=True):
    """k6 measures latency from the moment of sending. ``dropped``: requests that were not sent."""

    requests: int
    failed: int
    dropped: int
    latency: Percentiles


def find_k6() -> str | None:
    """The k6 of the PyPI package, or the one in the PATH."""
    in_venv = Path(sys.executable).parent / "k6"
    return str(in_venv) if in_venv.exists() else shutil.which("k6")


def run_k6(
    port: int, calls: tuple[Call, ...], number: int, rate: float, seconds: float, folder: Path
) -> K6Result:
    """Raises :class:`LoadError`."""
    command = find_k6()
    if command is None:
        raise LoadError("k6 is not installed: pip install k6")
    script, summary = folder / "k6.js", folder / "k6.json"
    script.write_text(_script(port, calls, number, rate, seconds))
    done = subprocess.run(
        [command, "run", "--quiet", "--no-usage-report", "--summary-export", summary, script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "K6_NO_COLOR": "true"},
    )
    if done.returncode:
        raise LoadError(f"k6: {done.stderr}")
    return parsed(json.loads(summary.read_bytes())["metrics"])


def parsed(metrics: dict[str, Any]) -> K6Result:
    duration, failed = metrics["http_req_duration"], metrics["http_req_failed"]
    return K6Result(
        requests=metrics["http_reqs"]["count"],
        failed=failed["passes"],
        dropped=metrics.get("dropped_iterations", {}).get("count", 0),
        latency=Percentiles(
            *(duration[name] for name in ("med", "p(90)", "p(99)", "p(99.9)", "max"))
        ),
    )


def _script(port: int, calls: tuple[Call, ...], number: int, rate: float, seconds: float) -> str:
    documents = [
        {
            "method": call.method,
            "path": call.path,
            "body": message(0, number, call.body_bytes).decode() if call.body_bytes else None,
            "headers": {"Content-Type": "application/json", **call.headers},
        }
        for call in calls
        for _ in range(call.weight)
    ]
    values = {
        "calls": json.dumps(documents),
        "rate": max(1, round(rate)),
        "seconds": seconds,
        "connections": 64,
        "most": 512,
        "port": port,
    }
    return SCRIPT % values
