"""One HTTP backend, which answers at once."""

from __future__ import annotations

from ..process import endpoint
from ..scenario import HTTP, Scenario

SCENARIO = Scenario(
    name="http",
    title="HTTP backend",
    endpoints=(endpoint("/", {"host": [HTTP], "url_pattern": "/a"}),),
    is_default=True,
)
