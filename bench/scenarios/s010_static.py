"""What every request costs: the router's own answer, no backend is asked."""

from __future__ import annotations

from ..process import endpoint
from ..scenario import HTTP, Call, Scenario

SCENARIO = Scenario(
    name="static",
    title="static response (health)",
    endpoints=(endpoint("/unused", {"host": [HTTP], "url_pattern": "/a"}),),
    calls=(Call(path="/__health"),),
    is_default=True,
)
