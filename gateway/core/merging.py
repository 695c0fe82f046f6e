"""Several parts, one answer: KrakenD's shallow merge. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import GatewayError, together
from .proxy import COMPLETE, INCOMPLETE, PARTS_FAILED, Response, TakenMessage


def merge(
    parts: Sequence[Response | GatewayError],
    report: Callable[[GatewayError], object] = lambda failure: None,
) -> Response:
    """The answer made of ``parts`` in the order they arrived: a later key wins. ``report`` gets the
    failures of which nothing else would be heard, as there is an answer.

    A part that failed or is incomplete makes it incomplete. Raises what the failures mean when no
    part answered, or when one of them decides. Where no part has a document and none failed
    (nothing but publishes) there is none either; the status is theirs when they agree.
    """
    if len(parts) == 1 and isinstance(parts[0], Response):
        return parts[0]
    data: dict[str, Any] = {}
    messages: list[TakenMessage] = []
    failures: list[GatewayError] = []
    answered: list[Response] = []
    completeness, has_data = COMPLETE, False
    for part in parts:
        if not isinstance(part, Response):
            failures.append(part)
            continue
        answered.append(part)
        messages += part.messages
        if not part.is_complete:
            completeness = INCOMPLETE
        if part.data is not None:
            data |= part.data
            has_data = True
    if failures:
        if (failure := together(failures, has_answers=bool(answered))) is not None:
            raise failure
        completeness = PARTS_FAILED
        for each in failures:
            report(each)
    is_publish = completeness is COMPLETE and not has_data
    is_null = len(answered) == 1 and not answered[0].is_complete and not has_data
    statuses = {part.status for part in answered}
    return Response(
        None if is_publish or is_null else data,
        completeness,
        messages,
        status=statuses.pop() if len(statuses) == 1 else 200,
    )
