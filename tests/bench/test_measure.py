"""CPU and memory of real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from bench.measure import cpu_seconds, resident_bytes

HUNGRY = "import time; a = bytearray(50_000_000); [0 for _ in range(3_000_000)]; print(flush=True)"
CHILD = f"{HUNGRY}; time.sleep(60)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


def test_a_process_below_counts() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            assert resident_bytes(process.pid) > 50_000_000
            assert cpu_seconds(process.pid) > 0.05
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("measure", [cpu_seconds, resident_bytes])
def test_processes_that_end_meanwhile_do_no_harm(measure: Callable[[int], float]) -> None:
    """The broker looks at its disk by short commands."""
    loop = "while :; do true & : $(true); done"
    with subprocess.Popen(["bash", "-c", loop], start_new_session=True) as process:
        try:
            end = time.monotonic() + 1
            while time.monotonic() < end:
                assert measure(process.pid) > 0
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("measure", [cpu_seconds, resident_bytes])
def test_a_process_that_has_ended_is_an_error(measure: Callable[[int], float]) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(ProcessLookupError):
        measure(process.pid)
