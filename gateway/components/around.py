"""A stage that looks at each request and at each answer, and never waits for it.

Whatever way the branch can be asked, the wrapped one can be asked so too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from ..core.helpers import Helped
from ..core.large import SMALLEST, size_of
from ..core.proxy import (
    Arrive,
    AtOnce,
    Branch,
    Later,
    Part,
    Proxy,
    Request,
    Response,
    nothing_to_withdraw,
)
from ..errors import DeadlineExceeded, GatewayError
from ..telemetry.logs import get_logger

log = get_logger("gateway.stages")

Finish: TypeAlias = Callable[[Response], Response]


class Begun(NamedTuple):
    """``request``: what the branch is asked. ``finish``: what becomes of its answer; raises a
    GatewayError. ``response``: the answer, when the branch is not to be asked."""

    request: Request
    finish: Finish
    response: Response | None = None


Begin: TypeAlias = Callable[[Request], Begun]
"""Called once for a request. Raises a :class:`GatewayError`."""


Before: TypeAlias = Callable[[Request], Request]
"""What the branch is asked instead. Never waits; raises a :class:`GatewayError` to ask nobody."""
After: TypeAlias = Callable[[Request, Response], Response]
"""What becomes of the answer to that request. Never waits; raises a :class:`GatewayError`."""


def as_it_is(request: Request) -> Request:
    return request


def as_it_came(request: Request, response: Response) -> Response:
    return response


class Large(NamedTuple):
    """How a helper process does the work of ``after``, for answers of more than ``most`` bytes.

    ``arguments``: what ``helped`` is called with; ``finish``: what becomes of the answer with what
    it returns; raises a GatewayError.
    """

    most: int
    helped: Helped
    arguments: Callable[[Request, Response], tuple[Any, ...]]
    finish: Callable[[Response, Any], Response]

    def fits(self, response: Response) -> bool:
        """Whether the answer is small."""
        size = len(response.body or b"") + size_of(response.data)
        return size + SMALLEST * len(response.headers) <= self.most


def wrapped(
    branch: Branch,
    before: Before = as_it_is,
    after: After = as_it_came,
    large: Large | None = None,
) -> Branch:
    """The branch, asked what ``before`` makes of a request, answering what ``after`` makes of it.

    A message that is taken and not answered with goes back at the end of the request. A branch that
    can answer at once does so with small answers only (:func:`gateway.core.large.most_at_once`).
    """

    def begin(request: Request) -> Begun:
        asked = before(request)
        return Begun(asked, partial(after, asked))

    whole = around(branch, begin, is_pure=True)
    if large is None:
        return whole
    later = None if branch.later is None else _large_later(branch.later, begin, large)
    return whole._replace(proxy=_large_proxy(branch.proxy, begin, large), later=later)


def _large_proxy(inner: Proxy, begin: Begin, large: Large) -> Proxy:
    async def proxy(request: Request) -> Response:
        begun = _begun(begin, request)
        response = await inner(begun.request)
        if large.fits(response):
            return finished(begun.finish, response)
        try:
            result = await large.helped.run(*large.arguments(begun.request, response))
            return large.finish(response, result)
        except BaseException as error:  # when cancelled: by the deadline, or the client has gone
            if isinstance(error, Exception) or not request.client.is_gone:
                response.set_aside()
            raise

    return proxy


def _large_later(inner: Later, begin: Begin, large: Large) -> Later:
    def later(request: Request, arrive: Arrive) -> Callable[[], GatewayError | None]:
        try:
            begun = _begun(begin, request)
        except GatewayError as error:
            arrive(error)
            return nothing_to_withdraw
        pending: list[tuple[Response, Callable[[], None]]] = []

        def arrived(part: Part) -> None:
            if isinstance(part, GatewayError) or large.fits(part):
                arrive(_finished(part, begun.finish, request.path))
                return

            def helped(returned: Any) -> None:
                pending.clear()
                finish = partial(_finish_large, large, returned)
                arrive(_finished(part, finish, request.path))

            end = large.helped.start(helped, *large.arguments(begun.request, part))
            pending.append((part, end))

        withdraw = inner(begun.request, arrived)

        def withdraw_all() -> GatewayError | None:
            if not pending:
                return withdraw()
            response, end = pending.pop()
            end()
            if not request.client.is_gone:
                response.set_aside()
            return DeadlineExceeded()

        return withdraw_all

    return later


def _finish_large(large: Large, returned: Any, response: Response) -> Response:
    if isinstance(returned, Exception):
        raise returned
    return large.finish(response, returned)


def around(branch: Branch, begin: Begin, *, is_pure: bool, reads_body: bool = False) -> Branch:
    """The branch with ``begin`` before it, without a task where it needs none itself.

    ``is_pure``: nothing happens before an answer is here, so that a request may be begun twice.
    """
    at_once = later = None
    if branch.at_once is not None and is_pure:
        at_once = _at_once(branch.at_once, begin)
    if branch.later is not None:
        later = _later(branch.later, None if is_pure else branch.at_once, begin)
    return branch._replace(
        proxy=around_proxy(branch.proxy, begin),
        at_once=at_once,
        later=later,
        reads_body=branch.reads_body or reads_body,
    )


def around_proxy(inner: Proxy, begin: Begin) -> Proxy:
    async def proxy(request: Request) -> Response:
        begun = _begun(begin, request)
        if begun.response is not None:
            return begun.response
        return finished(begun.finish, await inner(begun.request))

    return proxy


def _at_once(inner: AtOnce, begin: Begin) -> AtOnce:
    def at_once(request: Request) -> Response | None:
        begun = _begun(begin, request)
        response = inner(begun.request)
        return None if response is None else finished(begun.finish, response)

    return at_once


def _later(inner: Later, at_once: AtOnce | None, begin: Begin) -> Later:
    """``at_once``: is asked here, because it could not be asked before."""

    def later(request: Request, arrive: Arrive) -> Callable[[], GatewayError | None]:
        try:
            begun = _begun(begin, request)
            response = begun.response
            if response is None and at_once is not None:
                response = at_once(begun.request)
                response = response and finished(begun.finish, response)
        except GatewayError as error:
            arrive(error)
            return nothing_to_withdraw
        if response is not None:
            arrive(response)
            return nothing_to_withdraw
        path, finish = request.path, begun.finish
        return inner(begun.request, lambda part: arrive(_finished(part, finish, path)))

    return later


def finished(finish: Finish, response: Response) -> Response:
    """What is refused may not block its queue: its messages are set aside, as undecodable ones."""
    try:
        return finish(response)
    except Exception:
        response.set_aside()
        raise


def _begun(begin: Begin, request: Request) -> Begun:
    """Who is refused here says nothing of the backend."""
    try:
        return begin(request)
    except GatewayError as error:
        error.was_asked = False
        raise


def _finished(part: Part, finish: Finish, path: str) -> Part:
    if isinstance(part, GatewayError):
        return part
    try:
        return finished(finish, part)
    except GatewayError as error:
        return error
    except Exception:  # this runs in a connection's callback: nobody else may suffer
        log.exception("%s: while an answer was looked at", path)
        return GatewayError("internal error")
