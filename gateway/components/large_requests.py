"""Requests with large bodies: a helper process prepares what the branch gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from msgspec.structs import replace

from ..core.helpers import Helped
from ..core.pipe import coroutine_of
from ..core.proxy import Arrive, Ask, Later, Now, P, Part, Request, Response, Withdraw
from ..errors import DeadlineExceeded, GatewayError

ResultT = TypeVar("ResultT")
"""What the helper process returns."""


class LargeRequests(NamedTuple, Generic[ResultT]):
    """How requests with large bodies are handled.

    ``most``: the largest body, in bytes, that needs no helper process. ``arguments``: what
    ``helped`` is called with. ``finish``: makes the request for the branch from the client's
    request and the result of ``helped``; it may raise a GatewayError.
    """

    most: int
    helped: Helped[ResultT]
    arguments: Callable[[Request], tuple[object, ...]]
    finish: Callable[[Request, ResultT], Request]

    def finished(self, request: Request, result: ResultT | Exception) -> Request:
        """As ``finish``. A failure does not count as a failure of the backend."""
        try:
            if isinstance(result, Exception):
                raise result
            return self.finish(request, result)
        except GatewayError as error:
            error.reached_backend = False
            raise


def with_large_requests(small: P, inner: P, large: LargeRequests[ResultT]) -> P:
    """The branch that passes requests with small bodies to ``small``.

    For a request with a large body, a helper process prepares the request for ``inner``.
    """
    now = small.now and _now(small.now, large)
    ask = later = None
    if small.later is not None and inner.later is not None:
        later = _later(small.later, inner.later, large)
    else:
        ask = _ask(coroutine_of(small), coroutine_of(inner), large)
    return replace(small, ask=ask, now=now, later=later, reads_body=True)


def _ask(small: Ask, inner: Ask, large: LargeRequests[ResultT]) -> Ask:
    async def ask(request: Request) -> Response:
        if len(request.body) <= large.most:
            return await small(request)
        result: ResultT | GatewayError
        try:
            result = await large.helped.run(*large.arguments(request))
        except GatewayError as error:
            result = error
        return await inner(large.finished(request, result))

    return ask


def _now(small: Now, large: LargeRequests[ResultT]) -> Now:
    def now(request: Request) -> Response | None:
        return small(request) if len(request.body) <= large.most else None

    return now


def _later(small: Later, inner: Later, large: LargeRequests[ResultT]) -> Later:
    def later(request: Request, arrive: Arrive) -> Withdraw:
        if len(request.body) <= large.most:
            return small(request, arrive)
        withdrawals: list[Withdraw] = []

        def helped(result: ResultT | Exception) -> None:
            try:
                prepared = large.finished(request, result)
            except GatewayError as error:
                withdrawals.append(lambda: None)
                arrive(error)
            else:
                withdrawals.append(inner(prepared, arrive))

        end = large.helped.start(helped, *large.arguments(request))

        def withdraw() -> Part | None:
            if withdrawals:
                return withdrawals[0]()
            end()
            return DeadlineExceeded()

        return withdraw

    return later
