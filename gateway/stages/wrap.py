"""Around a branch: something before it is asked, something with what it answers.

Whatever way the branch can be asked, the wrapped one can be asked so too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from ..errors import GatewayError
from ..proxy import Arrive, Branch, Part, Request, Response

log = logging.getLogger("gateway.stages")

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
    inner, inner_at_once, inner_later = branch.proxy, branch.at_once, branch.later

    def checked(request: Request) -> Request:
        try:
            return before(request)
        except GatewayError as error:
            error.was_asked = False
            raise

    async def proxy(request: Request) -> Response:
        request = checked(request)
        return after(request, await inner(request))

    def at_once(request: Request) -> Response | None:
        request = checked(request)
        response = inner_at_once(request) if inner_at_once else None
        return None if response is None else after(request, response)

    def later(request: Request, arrive: Arrive) -> Callable[[], GatewayError | None]:
        try:
            asked = checked(request)
        except GatewayError as error:
            arrive(error)
            return _nothing_to_withdraw
        assert inner_later is not None
        return inner_later(asked, lambda part: arrive(_made_of(part, asked)))

    def _made_of(part: Part, request: Request) -> Part:
        if isinstance(part, GatewayError):
            return part
        try:
            return after(request, part)
        except GatewayError as error:
            return error
        except Exception:  # this runs in a connection's callback: nobody else may suffer
            log.exception("%s: while an answer was looked at", request.path)
            return GatewayError("internal error")

    return branch._replace(
        proxy=proxy,
        at_once=None if inner_at_once is None else at_once,
        later=None if inner_later is None else later,
    )


def _nothing_to_withdraw() -> None:
    """Nobody was asked."""
