"""A stage that looks at each request and at each answer, and never waits for it.

Whatever way the branch can be asked, the wrapped one can be asked so too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

from ..errors import GatewayError
from ..logs import get_logger
from ..proxy import (
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


def wrapped(branch: Branch, before: Before = as_it_is, after: After = as_it_came) -> Branch:
    """The branch, asked what ``before`` makes of a request, answering what ``after`` makes of it.

    A message that is taken and not answered with goes back at the end of the request.
    """

    def begin(request: Request) -> Begun:
        asked = before(request)
        return Begun(asked, partial(after, asked))

    return around(branch, begin, is_pure=True)


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
