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
    if len(answered) < len(parts):
        failures = [part for part in parts if isinstance(part, GatewayError)]
        deciding = failures if not answered else [each for each in failures if each.decides]
        if deciding:
            raise worst(deciding)
    is_complete = len(answered) == len(parts)
    data: dict[str, Any] = {}
    has_data = False
    holds: list[Hold] = []
    for part in answered:
        holds.extend(part.holds)
        is_complete = is_complete and part.is_complete
        if part.data is not None:
            data.update(part.data)
            has_data = True
    statuses = {part.status for part in answered}
    return Response(
        data if has_data or not is_complete else None,
        is_complete,
        holds,
        status=statuses.pop() if len(statuses) == 1 else 200,
    )
