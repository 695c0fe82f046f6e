"""Counters of responses: cheaper than an observer, since they know less. A response is counted
where it is made, so nothing of the request is wrapped.

Without a counter nothing is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from ..config.structs import Endpoint

CountResponse: TypeAlias = Callable[[int, float], object]
"""Called once for each request: the status of the response, and the seconds until it was made
(:data:`.observed.CLIENT_GONE`: the client did not wait for one). Must not raise."""


CountUnmatched: TypeAlias = Callable[[int], object]
"""As :data:`CountResponse`, of a request that no endpoint gets. The argument: the status."""


def ignore_unmatched(status: int) -> None:
    """A :data:`CountUnmatched` where nothing is counted."""


class ResponseCounter(Protocol):
    """The counters of one component."""

    def counter_of(self, endpoint: Endpoint) -> CountResponse:
        """Of the requests that this endpoint has got."""
        ...

    def count_unmatched(self, status: int) -> object:
        """A :data:`CountUnmatched`."""
