"""``proxy`` on an endpoint: ``flatmap_filter`` and ``static``, on the whole answer.

How its backends are asked, and ``shadow``, is decided where pipes are built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..config.proxy import FlatmapOperation, StaticSettings
from ..core.helpers import Helped, Helpers
from ..core.large import MOST_MANIPULATED, build_flatmap_pieces, size_of, whole
from ..core.proxy import Branch, Part, Request, Response
from ..encoding import encode_json, reason_of
from ..encoding.flatmap import build_flatmap
from ..errors import GatewayError

STRATEGIES: dict[str, Callable[[Part], bool]] = {
    "always": lambda part: True,
    "success": lambda part: isinstance(part, Response) and not part.has_failures,
    "errored": lambda part: not isinstance(part, Response) or part.has_failures,
    "complete": lambda part: isinstance(part, Response) and part.is_whole,
    "incomplete": lambda part: not isinstance(part, Response) or not part.is_whole,
}
"""When the data is put over an answer, or in the place of a failure; an unknown name means
"always", as in KrakenD."""


def flatmapped(pipe: Branch, operations: tuple[FlatmapOperation, ...], helpers: Helpers) -> Branch:
    """The pipe whose answers go through the operations, unless a part failed."""
    inner, flatmap = pipe.proxy, build_flatmap(operations)
    if flatmap is None:
        return pipe
    large = Helped(helpers, build_flatmap_pieces, operations)

    async def proxy(request: Request) -> Response:
        response = await inner(request)
        if response.data is None or response.has_failures:
            return response
        try:
            if size_of(response.data) <= MOST_MANIPULATED:
                data = flatmap(response.data)
            else:
                data = whole(await large.run(encode_json(response.data)))
        except Exception as error:
            response.set_aside()
            raise GatewayError(reason_of(error)) from error
        return response.with_data(data, response.is_complete and data is not None)

    return Branch(proxy, reads_body=pipe.reads_body)


def with_static(
    pipe: Branch,
    settings: StaticSettings,
    data: dict[str, Any],
    report: Callable[[GatewayError], object] = lambda failure: None,
    *,
    is_passed_on: bool = False,
) -> Branch:
    """The pipe with ``data`` put over its answers, or answered in place of its failures, which
    ``report`` gets.

    A failure that decides stays: nobody may take a message for published that is not. So does any
    failure where the answer is passed on as it came (``no-op``): there is no place for the data.
    """
    inner = pipe.proxy
    matches = STRATEGIES.get(settings.strategy, STRATEGIES["always"])

    async def proxy(request: Request) -> Response:
        try:
            response = await inner(request)
        except GatewayError as error:
            if error.decides or is_passed_on or not matches(error):
                raise
            report(error)
            return Response(dict(data), is_complete=False, has_failures=True)
        if not matches(response):
            return response
        return response.with_data({**(response.data or {}), **data}, response.is_whole)

    return Branch(proxy, reads_body=pipe.reads_body)
