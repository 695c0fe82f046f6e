"""What a gateway uses while it runs."""

from __future__ import annotations

from collections.abc import Sequence

import psutil
from msgspec import Struct

from ..measure import resident_bytes
from ..process import GatewayProcess

WARM_UP = 60.0
"""Seconds; a quarter of a shorter run."""

SHOWN = 12
"""Samples in the report."""

MIB = 1024 * 1024


class Watch(Struct):
    """``memory``: seconds after the start, and MiB in RAM."""

    gateway: GatewayProcess
    memory: list[tuple[float, float]] = []
    files: int = 0
    threads: int = 0

    def look(self, seconds: float) -> None:
        """The gateway must be running."""
        self.memory.append((seconds, resident_bytes(self.gateway.pid) / MIB))
        process = psutil.Process(self.gateway.pid)
        self.files, self.threads = process.num_fds(), process.num_threads()

    @property
    def latest(self) -> str:
        return _shown(self.memory[-1:])

    def __str__(self) -> str:
        warm_up = min(WARM_UP, self.memory[-1][0] / 4)
        warm = next(sample for sample in self.memory if sample[0] >= warm_up)
        return (
            f"{_shown(self.memory[:1])} at the start, {_shown([warm])} after {warm[0]:.0f} s, "
            f"{self.latest} at the end ({_shown(self.memory[:: -(-len(self.memory) // SHOWN)])}); "
            f"{self.files} open files, {self.threads} threads"
        )


def _shown(samples: Sequence[tuple[float, float]]) -> str:
    return f"{', '.join(f'{mebibytes:.0f}' for _, mebibytes in samples)} MiB"
