"""One response of several parts: KrakenD's shallow merge. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ..errors import GatewayError, together
from .proxy import COMPLETE, INCOMPLETE, PARTS_FAILED, Request, Response, TakenMessage

Report: TypeAlias = Callable[[GatewayError, Request | None], object]
"""Gets each failure that the client does not see, because other backends have responded, and the
request."""


def ignore(failure: GatewayError, request: Request | None) -> None:
    """Reports nothing."""


def merge(
    parts: Sequence[Response | GatewayError],
    report: Report = ignore,
    request: Request | None = None,
) -> Response:
    """The response made of ``parts`` in the order of their arrival: of equal keys the later one
    wins.

    It is complete if every part is. If some parts failed, ``report`` gets each failure, since the
    client sees none of them. Raises a failure if every part failed, or if one of the failures
    decides. If no part has a document and none failed (all of them are publishes), the response has
    none either. Its status is that of the parts, if all have the same.
    """
    if len(parts) == 1 and isinstance(parts[0], Response):
        return parts[0]
    data: dict[str, Any] = {}
    messages: list[TakenMessage] = []
    failures: list[GatewayError] = []
    answered: list[Response] = []
    completeness, has_data, status = COMPLETE, False, 0
    for part in parts:
        if not isinstance(part, Response):
            failures.append(part)
            continue
        answered.append(part)
        messages += part.messages
        if part.completeness is not COMPLETE and not part.is_complete:
            completeness = INCOMPLETE
        if part.status != status:
            status = 200 if status else part.status
        if part.data is not None:
            data |= part.data
            has_data = True
    if failures:
        if (failure := together(failures, has_answers=bool(answered))) is not None:
            raise failure
        completeness = PARTS_FAILED
        for each in failures:
            report(each, request)
    is_publish = completeness is COMPLETE and not has_data
    is_null = len(answered) == 1 and not answered[0].is_complete and not has_data
    return Response(
        None if is_publish or is_null else data,
        completeness,
        messages,
        status=status or 200,
    )
