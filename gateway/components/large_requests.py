"""Requests with large bodies, of which a helper process makes what a branch is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec.structs import replace

from ..core.helpers import Helped
from ..core.pipe import coroutine_of
from ..core.proxy import Arrive, Ask, Later, Now, P, Request, Response
from ..errors import DeadlineExceeded, GatewayError


class LargeRequests(NamedTuple):
    """``most``: bytes of the largest body that needs no helper. ``arguments``: what ``helped`` is
    called with; ``finish``: what the branch is asked, with what it returned; raises a GatewayError.
    """

    most: int
    helped: Helped[Any]
    arguments: Callable[[Request], tuple[Any, ...]]
    finish: Callable[[Request, Any], Request]

    def asked(self, request: Request, returned: Any) -> Request:
        """As ``finish``; a failure says nothing of the backend."""
        try:
            if isinstance(returned, Exception):
                raise returned
            return self.finish(request, returned)
        except GatewayError as error:
            error.reached_backend = False
            raise


def with_large_requests(small: P, inner: P, large: LargeRequests) -> P:
    """``small`` for small bodies; for others ``inner``, asked what the helper process made."""
    now = small.now and _now(small.now, large)
    ask = later = None
    if small.later is not None and inner.later is not None:
        later = _later(small.later, inner.later, large)
    else:
        ask = _ask(coroutine_of(small), coroutine_of(inner), large)
    return replace(small, ask=ask, now=now, later=later, reads_body=True)


def _ask(small: Ask, inner: Ask, large: LargeRequests) -> Ask:
    async def ask(request: Request) -> Response:
        if len(request.body) <= large.most:
            return await small(request)
        returned: Any
        try:
            returned = await large.helped.run(*large.arguments(request))
        except GatewayError as error:
            returned = error
        return await inner(large.asked(request, returned))

    return ask


def _now(small: Now, large: LargeRequests) -> Now:
    def now(request: Request) -> Response | None:
        return small(request) if len(request.body) <= large.most else None

    return now


def _later(small: Later, inner: Later, large: LargeRequests) -> Later:
    def later(request: Request, arrive: Arrive) -> Callable[[], GatewayError | None]:
        if len(request.body) <= large.most:
            return small(request, arrive)
        withdrawals: list[Callable[[], GatewayError | None]] = []

        def helped(returned: Any) -> None:
            try:
                asked = large.asked(request, returned)
            except GatewayError as error:
                withdrawals.append(lambda: None)
                arrive(error)
            else:
                withdrawals.append(inner(asked, arrive))

        end = large.helped.start(helped, *large.arguments(request))

        def withdraw() -> GatewayError | None:
            if withdrawals:
                return withdrawals[0]()
            end()
            return DeadlineExceeded()

        return withdraw

    return later
