"""Stages that check or change each request of a branch, and its response, without waiting.

A stage is one :class:`Interceptor`. This module alone knows in which ways a branch can be asked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from msgspec.structs import replace

from ..errors import DeadlineExceeded, GatewayError
from ..telemetry.logs import get_logger
from .helpers import Helped
from .large import MIN_VALUE_BYTES, size_of
from .pipe import coroutine_of
from .proxy import (
    Arrive,
    Ask,
    Later,
    Now,
    P,
    Part,
    Pipe,
    Request,
    Response,
    Withdraw,
    nothing_to_withdraw,
)

T = TypeVar("T")
"""What a helper process returns."""
R = TypeVar("R", Part, Response)

log = get_logger("gateway.stages")


class Call(Protocol):
    """One request at one stage. Either ``finish`` or ``abandon`` is called, once."""

    @property
    def request(self) -> Request:
        """The request that the branch gets."""
        ...

    def finish(self, part: Part) -> Part:
        """The response or the failure of this stage, made of the one of the branch. A failure stays
        a failure. May raise a :class:`GatewayError`."""
        ...

    def abandon(self, *, reached_backend: bool) -> None:
        """There is no part: the client has disconnected; or the branch cannot answer now, and was
        not asked: then the request begins once more."""
        ...


class Interceptor(Protocol):
    """A stage: what it does with each request."""

    def begin(self, request: Request) -> Call | Response:
        """A Response ends the request here; so does a :class:`GatewayError` that is raised."""
        ...


Before: TypeAlias = Callable[[Request], Request]
"""The request that the branch gets. Raises a :class:`GatewayError`: the branch is not asked."""
After: TypeAlias = Callable[[Request, Response], Response]
"""The response of the stage. Raises a :class:`GatewayError`."""


def as_it_is(request: Request) -> Request:
    return request


def as_it_came(request: Request, response: Response) -> Response:
    return response


class Functions(NamedTuple):
    """An interceptor of two functions."""

    before: Before = as_it_is
    after: After = as_it_came

    def begin(self, request: Request) -> Call:
        return BegunCall(self.before(request), self.after)


class BegunCall:
    """A call that has begun: the branch gets ``request``, and ``after`` makes the response of the
    stage. A failure of the branch stays as it is."""

    __slots__ = ("_after", "request")

    def __init__(self, request: Request, after: After) -> None:
        self.request = request
        self._after = after

    def finish(self, part: Part) -> Part:
        return part if isinstance(part, GatewayError) else self._after(self.request, part)

    def abandon(self, *, reached_backend: bool) -> None:
        """There is nothing to undo."""


class Large(NamedTuple, Generic[T]):
    """How a helper process does the work of ``finish``, for responses of more than ``most`` bytes.

    ``arguments``: what ``helped`` is called with; ``finish``: what becomes of the response with
    what it returns; raises a GatewayError. A branch that answers ``now`` does so with small
    responses only (:attr:`gateway.core.component.Component.max_inline_bytes`).
    """

    most: int
    helped: Helped[T]
    arguments: Callable[[Request, Response], tuple[object, ...]]
    finish: Callable[[Response, T], Response]

    def fits(self, response: Response) -> bool:
        """Whether the response is small enough for the event loop."""
        size = len(response.body or b"") + size_of(response.data)
        return size + MIN_VALUE_BYTES * len(response.headers) <= self.most

    def finished(self, returned: T | Exception, response: Response) -> Response:
        if isinstance(returned, Exception):
            raise returned
        return self.finish(response, returned)


def intercepted(
    branch: P,
    interceptor: Interceptor,
    *,
    is_pure: bool = True,
    reads_body: bool = False,
    large: Large[T] | None = None,
) -> P:
    """The branch with ``interceptor`` around it; it needs a task only if the branch does.

    ``is_pure``: a request may be begun, abandoned and begun once more. If not (hooks), the stage
    offers no ``now``, and its ``later`` asks the branch's ``now`` first.
    """
    begin, inner_now = interceptor.begin, branch.now
    now = _now(inner_now, begin) if inner_now is not None and is_pure else None
    ask = later = None
    if branch.later is not None:
        later = _later(branch.later, None if is_pure else inner_now, begin, large)
    else:
        ask = _ask(branch, begin, large)
    return replace(
        branch, ask=ask, now=now, later=later, reads_body=branch.reads_body or reads_body
    )


Begin: TypeAlias = Callable[[Request], Call | Response]


def _not_asked(error: GatewayError) -> GatewayError:
    """A failure of ``begin``: the backend was not called."""
    error.reached_backend = False
    return error


def finished(finish: Callable[[R], Part], part: R, path: str) -> Part:
    """What ``finish`` makes of the part. If it refuses a response, the messages of that response
    are parked, as undecodable ones: they must not block their queue."""
    try:
        result = finish(part)
    except GatewayError as error:
        result = error
    except Exception:  # this may run in a callback of a connection, which others share
        log.exception("%s: an unexpected error in a stage", path)
        result = GatewayError("internal error")
    if isinstance(result, GatewayError) and isinstance(part, Response):
        part.park()
    return result


def _now(inner: Now, begin: Begin) -> Now:
    # Written out, not by _part_now(): 124.1 -> 122.1 thousand instructions for four stages.
    def now(request: Request) -> Response | None:
        try:
            call = begin(request)
        except GatewayError as error:
            raise _not_asked(error) from None
        if isinstance(call, Response):
            return call
        try:
            part: Part | None = inner(call.request)
        except GatewayError as error:
            part = error
        except BaseException:
            call.abandon(reached_backend=True)
            raise
        if part is None:
            call.abandon(reached_backend=False)
            return None
        part = finished(call.finish, part, request.path)
        if isinstance(part, GatewayError):
            raise part
        return part

    return now


def _part_now(inner: Now, call: Call) -> Part | None:
    try:
        part: Part | None = inner(call.request)
    except GatewayError as error:
        part = error
    except BaseException:
        call.abandon(reached_backend=True)
        raise
    return None if part is None else finished(call.finish, part, call.request.path)


def _ask(branch: Pipe, begin: Begin, large: Large[T] | None) -> Ask:
    inner = coroutine_of(branch)

    async def ask(request: Request) -> Response:
        try:
            call = begin(request)
        except GatewayError as error:
            raise _not_asked(error) from None
        if isinstance(call, Response):
            return call
        try:
            part: Part = await inner(call.request)
        except GatewayError as error:
            part = error
        except BaseException as error:  # when cancelled: by the deadline, or the client has gone
            if isinstance(error, Exception):
                finished(call.finish, GatewayError("internal error"), request.path)
            elif request.client.is_gone:
                call.abandon(reached_backend=True)
            else:
                finished(call.finish, branch.timed_out(request), request.path)
            raise
        if large is None or isinstance(part, GatewayError) or large.fits(part):
            part = finished(call.finish, part, request.path)
        else:
            part = await _finish_large(call, part, large)
        if isinstance(part, GatewayError):
            raise part
        return part

    return ask


async def _finish_large(call: Call, response: Response, large: Large[T]) -> Response:
    try:
        returned = await large.helped.run(*large.arguments(call.request, response))
        return large.finished(returned, response)
    except BaseException as error:  # when cancelled: by the deadline, or the client has gone
        if isinstance(error, Exception) or not call.request.client.is_gone:
            response.park()
        raise


def _later(inner: Later, now: Now | None, begin: Begin, large: Large[T] | None) -> Later:
    """``now``: of the branch, if the stage has none itself."""

    def later(request: Request, arrive: Arrive) -> Withdraw:
        try:
            call = begin(request)
        except GatewayError as error:
            arrive(_not_asked(error))
            return nothing_to_withdraw
        if isinstance(call, Response):
            arrive(call)
            return nothing_to_withdraw
        if now is not None and (part := _part_now(now, call)) is not None:
            arrive(part)
            return nothing_to_withdraw
        waiting = _WaitingCall(call, arrive)
        arrived = waiting.arrived if large is None else partial(waiting.arrived_large, large)
        try:
            return waiting.begun(inner(call.request, arrived))
        except Exception:
            waiting.failed()
            raise

    return later


class _WaitingCall:
    """A call while it waits for its branch, and then perhaps for a helper process."""

    __slots__ = ("_arrive", "_call", "_response", "_withdraw")

    def __init__(self, call: Call, arrive: Arrive) -> None:
        self._call = call
        self._arrive: Arrive | None = arrive
        self._response: Response | None = None
        self._withdraw: Withdraw | None = None

    def begun(self, withdraw: Withdraw) -> Withdraw:
        if self._arrive is None:
            return nothing_to_withdraw
        if self._response is None:
            self._withdraw = withdraw
        return self.withdraw

    def failed(self) -> None:
        """The branch has raised an error in place of a part."""
        if self._arrive is not None:
            self._arrive = None
            finished(self._call.finish, GatewayError("internal error"), self._call.request.path)

    def arrived(self, part: Part) -> None:
        call = self._call
        self._end(finished(call.finish, part, call.request.path))

    def arrived_large(self, large: Large[T], part: Part) -> None:
        if isinstance(part, GatewayError) or large.fits(part):
            self.arrived(part)
            return
        self._response = part
        arguments = large.arguments(self._call.request, part)
        end = large.helped.start(partial(self._helped, large, part), *arguments)
        if self._arrive is not None:
            self._withdraw = end

    def _helped(self, large: Large[T], response: Response, returned: T | Exception) -> None:
        finish = partial(large.finished, returned)
        self._end(finished(finish, response, self._call.request.path))

    def _end(self, part: Part) -> None:
        arrive, self._arrive = self._arrive, None
        self._withdraw = None  # it refers to self: no reference cycle is left
        if arrive is not None:
            arrive(part)

    def withdraw(self) -> Part | None:
        withdraw, self._withdraw = self._withdraw, None
        if self._arrive is None or withdraw is None:
            return None
        self._arrive = None
        call, meaning = self._call, withdraw()
        is_gone = call.request.client.is_gone
        if self._response is not None:  # the helper process has not finished
            if not is_gone:
                self._response.park()
            return DeadlineExceeded()
        if meaning is None or is_gone:
            call.abandon(reached_backend=True)
            return meaning
        return finished(call.finish, meaning, call.request.path)
