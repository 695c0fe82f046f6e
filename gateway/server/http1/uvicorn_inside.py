"""All that is used of uvicorn and is not public.

uvicorn has an upper bound in pyproject.toml. tests/server/test_uvicorn_inside.py fails with a
version that has changed what stands here.
"""

from __future__ import annotations

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

__all__ = ["HIGH_WATER_LIMIT", "STATUS_LINE", "FlowControl", "UvicornConnection"]


class UvicornConnection(HttpToolsProtocol):
    """uvicorn's protocol of one connection.

    What is used of it: the application, the event loop, both addresses, the flow control, the
    parser and its callback ``on_url``, and the server's sets of connections and tasks. What reads
    requests and writes responses is overridden.
    """

    parser: httptools.HttpRequestParser | None  # type: ignore[assignment]

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the server itself: a new list each second, with the date."""
        return self.server_state.default_headers
