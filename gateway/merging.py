"""Several parts, one answer: KrakenD's shallow merge. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .errors import GatewayError, worst
from .proxy import Hold, Response


def merge(parts: Sequence[Response | GatewayError]) -> Response:
    """The answer made of ``parts`` in the order they arrived: a later key wins.

    A part that failed or is incomplete makes it incomplete. Raises the one failure that stands
    for all when no part answered, or when one decides. Where no part has a document and none
    failed (nothing but publishes) there is none either; the status is theirs when they agree.
    """
    if len(parts) == 1 and isinstance(parts[0], Response):
        return parts[0]
    answered = [part for part in parts if isinstance(part, Response)]
    has_failures = len(answered) < len(parts)
    if has_failures:
        failures = [part for part in parts if isinstance(part, GatewayError)]
        deciding = failures if not answered else [each for each in failures if each.decides]
        if deciding:
            raise worst(deciding)
    is_complete = not has_failures
    data: dict[str, Any] = {}
    has_data = False
    holds: list[Hold] = []
    for part in answered:
        holds.extend(part.holds)
        is_complete = is_complete and part.is_complete
        if part.data is not None:
            data.update(part.data)
            has_data = True
    is_publish = is_complete and not has_data
    is_null = len(answered) == 1 and not answered[0].is_complete and not has_data
    statuses = {part.status for part in answered}
    return Response(
        None if is_publish or is_null else data,
        is_complete,
        holds,
        status=statuses.pop() if len(statuses) == 1 else 200,
        has_failures=has_failures,
    )
