"""The demo's private broker ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.demo.broker import free_port


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_broker_starts_leaves_no_process_and_no_file(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "gateway", "demo", "-p", str(free_port())]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [number])  # the demo inherits it
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as demo:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        assert demo.stdout is not None
        assert demo.stdout.readline() == "starting a private RabbitMQ ...\n"
        while not any(log.stat().st_size for log in tmp_path.glob("*/broker.log")):  # it starts
            assert demo.poll() is None
            time.sleep(0.01)
        demo.send_signal(number)
        assert demo.wait(50) in (0, 130)  # 0: a busy machine, and it serves already
    assert list(tmp_path.iterdir()) == []
