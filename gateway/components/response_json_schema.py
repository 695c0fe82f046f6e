"""``validation/response-json-schema`` on endpoints and backends: the answer, before it is merged
or returned. KrakenD has it in its Enterprise Edition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from ..amqp.consume.findings import PARKED_ON_FAILURE
from ..amqp.settings import CONSUMER
from ..config.findings import Finding
from ..config.structs import Backend, Endpoint
from ..core.component import Assembly, Component, Place
from ..core.helpers import Helped
from ..core.large import KIB
from ..core.proxy import P, Response, Stage
from ..core.stage import Functions, Large, intercepted
from ..encoding import DecodeError
from ..errors import InvalidResponse
from .response_value import Portable, in_helper, to_helper, value_of
from .schema import build_misfit, schema_problem

MAX_INLINE_BYTES = 32 * KIB
"""Bytes of a response that are validated on the event loop: 20 ms at most. Measured at worst: 500
ns a byte."""
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
    return _build_stage(settings, assembly)


def build_backend_response_schema(
    settings: ResponseSchemaSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Stage:
    return _build_stage(settings, assembly)


def _build_stage(settings: ResponseSchemaSettings, assembly: Assembly) -> Stage:
    problem = _build_problem(settings.schema)
    error = settings.error

    def judged(response: Response, text: str) -> Response:
        if not text:
            return response
        if error.body:
            raise InvalidResponse(error.body, error.status, error.content_type)
        raise InvalidResponse(text, error.status, "")

    large = Large(
        MAX_INLINE_BYTES,
        Helped(assembly.helpers, build_large_problem, settings.schema),
        lambda request, response: (to_helper(response),),
        judged,
    )

    def stage(branch: P, /) -> P:
        functions = Functions(after=lambda _, response: judged(response, problem(response)))
        return intercepted(branch, functions, large=large)

    return stage


def _build_problem(schema: Any) -> Callable[[Response], str]:
    """Why an answer does not fit; empty: it does."""
    misfit = build_misfit(schema)

    def problem(response: Response) -> str:
        try:
            return misfit(value_of(response))
        except DecodeError as error:
            return str(error)

    return problem


def build_large_problem(schema: Any) -> Callable[[Portable], str]:
    """In a helper."""
    problem = _build_problem(schema)
    return lambda portable: problem(in_helper(portable))


def findings(settings: ResponseSchemaSettings, place: Place) -> Iterator[Finding]:
    if place.backend is not None and CONSUMER in place.backend.extra_config:
        yield place.warning(PARKED_ON_FAILURE)


COMPONENT = Component(
    "validation/response-json-schema",
    ResponseSchemaSettings,
    verify=verify_response_schema,
    backend_stage=build_backend_response_schema,
    endpoint_stage=build_endpoint_response_schema,
    max_inline_bytes=MAX_INLINE_BYTES,
    findings=findings,
)
