"""Three HTTP backends merged into one answer."""

from __future__ import annotations

from ..process import endpoint
from ..scenario import HTTP, Scenario

SCENARIO = Scenario(
    name="http-3",
    title="3 HTTP backends, merged",
    endpoints=(
        endpoint("/", *({"host": [HTTP], "url_pattern": f"/{n}", "group": n} for n in "abc")),
    ),
)
