"""As publish, to a long queue that nobody consumes."""

from __future__ import annotations

from msgspec.structs import replace

from .s050_publish import SCENARIO as PUBLISH

SCENARIO = replace(
    PUBLISH,
    name="publish-long",
    title="publish, persistent, long queue",
    backlog=100_000,
    is_default=False,
)
