"""As consume-1, from a long queue that nobody fills while it is consumed."""

from __future__ import annotations

from msgspec.structs import replace

from .s020_consume_1 import SCENARIO as CONSUME

SCENARIO = replace(
    CONSUME,
    name="consume-1-long",
    title="consume, 1 long queue",
    backlog=100_000,
    is_default=False,
)
