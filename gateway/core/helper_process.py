"""The program of a helper process: it reads calls from a pipe, and writes the results."""

from __future__ import annotations

import gc
import pickle
import resource
import signal
import sys

from ..encoding import reason_of
from .helpers import LENGTH, READY, encode_answer

MEMORY = 2 * 1024**3
"""Bytes of address space: a document that needs more is refused."""


def main(seconds: float) -> None:
    """Run until the other end of the pipe is closed. ``seconds``: of processor time for one call; a
    call that takes longer ends the process (SIGPROF)."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    gc.disable()  # large documents are many objects without cycles
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    sink.write(READY)
    sink.flush()
    while len(length := source.read(LENGTH)) == LENGTH:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        answer = _answer(source.read(int.from_bytes(length)))
        sink.write(len(answer).to_bytes(LENGTH))
        sink.write(answer)
        sink.flush()
        del answer
        gc.collect()


def _answer(request: bytes) -> bytes:
    try:
        func, args = pickle.loads(request)  # noqa: S301 (the gateway pickled it)
        return encode_answer((True, func(*args)))
    except Exception as error:
        return encode_answer((False, reason_of(error)))


if __name__ == "__main__":
    main(float(sys.argv[1]))
