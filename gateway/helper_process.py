"""What runs in a helper process: calls of functions, one after the other, from a pipe to a pipe."""

from __future__ import annotations

import gc
import os
import pickle
import resource
import signal
import sys

from .encoding import reason_of
from .helpers import LENGTH, LONGEST_WORK, encode_answer

MEMORY = 2 * 1024**3
"""Bytes of addresses: a document that needs more is refused, whatever the machine has."""
ALARM = int(3 * LONGEST_WORK)
"""Seconds after which a helper ends by itself: the gateway, which would end it, is gone."""
NICENESS = 5
"""Event loops come first."""


def main() -> None:
    """Until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.nice(NICENESS)
    gc.disable()  # large documents are many objects, and none of them is in a cycle
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    while len(length := source.read(LENGTH)) == LENGTH:
        signal.alarm(ALARM)
        answer = _answer(source.read(int.from_bytes(length)))
        sink.write(len(answer).to_bytes(LENGTH))
        sink.write(answer)
        sink.flush()
        signal.alarm(0)
        del answer
        gc.collect()


def _answer(request: bytes) -> bytes:
    try:
        func, args = pickle.loads(request)  # noqa: S301 (the gateway pickled it)
        return encode_answer((True, func(*args)))
    except Exception as error:
        return encode_answer((False, reason_of(error)))


if __name__ == "__main__":
    main()
