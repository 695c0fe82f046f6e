"""Every server with every event loop that it runs on, as fixtures."""

from __future__ import annotations

import pytest

from gateway.server.settings import ServerName

SERVERS = [("asyncio", "http1"), ("uvloop", "http1"), ("asyncio", "hypercorn")]
SERVERS += [("trio", "hypercorn")]


@pytest.fixture(params=SERVERS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, ServerName]:
    """The event loop or async library, and the server."""
    pair: tuple[str, ServerName] = request.param
    return pair


@pytest.fixture
def anyio_backend(pair: tuple[str, ServerName]) -> tuple[str, dict[str, bool]]:
    if pair[0] == "trio":
        return "trio", {}
    return "asyncio", {"use_uvloop": pair[0] == "uvloop"}
