"""``validation/response-json-schema`` on endpoints and backends: the answer, before it is merged
or returned. KrakenD has it in its Enterprise Edition.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from ..assembly import Assembly
from ..config.structs import Backend, Endpoint
from ..encoding import DecodeError
from ..errors import InvalidAnswer
from ..proxy import Branch, Request, Response, Stage
from .answer import value_of
from .around import wrapped
from .schema import build_misfit, schema_problem

NAMESPACE = "validation/response-json-schema"
STATUSES = range(200, 600)


class ErrorSettings(Struct, frozen=True, kw_only=True):
    """What the client gets. ``body`` empty: what is wrong, as plain text."""

    status: int = 500
    body: str = ""
    content_type: str = "text/plain"


class ResponseSchemaSettings(Struct, frozen=True, kw_only=True):
    schema: Any = None
    error: ErrorSettings = ErrorSettings()


def verify_response_schema(settings: ResponseSchemaSettings) -> Iterator[tuple[str, str]]:
    if (problem := schema_problem(settings.schema)) is not None:
        inner, text = problem
        yield f"schema{inner and '.'}{inner}", text
    if settings.error.status not in STATUSES:
        yield "error.status", f"expected 200 to 599, found {settings.error.status}"


def build_endpoint_response_schema(
    settings: ResponseSchemaSettings, endpoint: Endpoint, assembly: Assembly
) -> Stage:
    return _build_stage(settings)


def build_backend_response_schema(
    settings: ResponseSchemaSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Stage:
    return _build_stage(settings)


def _build_stage(settings: ResponseSchemaSettings) -> Stage:
    misfit = build_misfit(settings.schema)
    error = settings.error

    def fitting(request: Request, response: Response) -> Response:
        try:
            text = misfit(value_of(response))
        except DecodeError as reason:
            text = str(reason)
        if not text:
            return response
        if error.body:
            raise InvalidAnswer(error.body, error.status, error.content_type)
        raise InvalidAnswer(text, error.status, "")

    def stage(branch: Branch) -> Branch:
        return wrapped(branch, after=fitting)

    return stage
