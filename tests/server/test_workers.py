"""Workers that end while they are told to stop."""

from __future__ import annotations

import subprocess
import sys

import pytest

SUPERVISE = """
import sys, anyio
from gateway.server.workers import supervise
sys.exit(anyio.run(supervise, [sys.executable, "-c", sys.argv[1]], 2, 1.0))
"""
DEAF = "import os, time; os.write(1, b'up\\n'); time.sleep(60)"
FAILING = (
    "import os, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3));"
    "os.write(1, b'up\\n'); time.sleep(60)"
)


@pytest.mark.parametrize(("worker", "expected"), [(DEAF, 0), (FAILING, 1)])
def test_a_stop_is_clean_unless_a_worker_fails_at_it(worker: str, expected: int) -> None:
    """Who is still starting does not listen to signals yet."""
    command = [sys.executable, "-c", SUPERVISE, worker]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.wait(20) == expected
