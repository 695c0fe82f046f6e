"""``validation/response-json-schema``: validates a response before it is merged or returned.

On endpoints and backends. KrakenD has it in its Enterprise Edition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from ..amqp.consume.findings import PARKED_ON_FAILURE
from ..amqp.settings import CONSUMER
from ..config.findings import Finding
from ..config.json_types import Json
from ..config.structs import Backend, Endpoint
from ..core.component import Assembly, Component, Place
from ..core.helpers import Helped
from ..core.large import KIB
from ..core.proxy import P, Response, Stage
from ..core.stage import Functions, Large, intercepted
from ..encoding import DecodeError
from ..errors import InvalidResponse
from .response_value import PackedResponse, json_value, pack_response, unpack_response
from .schema import build_validate, schema_problem

MAX_INLINE_BYTES = 32 * KIB
"""Bytes of a response that are validated on the event loop: 20 ms at most. Measured at worst: 500
ns a byte."""
STATUSES = range(200, 600)


class ErrorSettings(Struct, frozen=True, kw_only=True):
    """What the client gets in place of an invalid response."""

    status: int = 500
    """The HTTP status, 200 to 599."""
    body: str = ""
    """The body. Absent or empty: the violations, as plain text."""
    content_type: str = "text/plain"
    """The ``Content-Type`` of ``body``."""


class ResponseSchemaSettings(Struct, frozen=True, kw_only=True):
    schema: Any = None
    """The JSON Schema that each response must match; required. The rules are those of
    ``validation/json-schema``."""
    error: ErrorSettings = ErrorSettings()
    """What the client gets in place of an invalid response."""


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
    violations_of = _build_validation(settings.schema)
    error = settings.error

    def with_violations(response: Response, violations: str) -> Response:
        if not violations:
            return response
        if error.body:
            raise InvalidResponse(error.body, error.status, error.content_type)
        raise InvalidResponse(violations, error.status, "")

    large = Large(
        MAX_INLINE_BYTES,
        Helped(assembly.helpers, build_large_validation, settings.schema),
        lambda request, response: (pack_response(response),),
        with_violations,
    )

    def stage(branch: P, /) -> P:
        functions = Functions(
            after=lambda _, response: with_violations(response, violations_of(response))
        )
        return intercepted(branch, functions, large=large)

    return stage


def _build_validation(schema: Json) -> Callable[[Response], str]:
    """A function of a response: its violations; empty when it is valid."""
    validate = build_validate(schema)

    def violations_of(response: Response) -> str:
        try:
            return validate(json_value(response))
        except DecodeError as error:
            return str(error)

    return violations_of


def build_large_validation(schema: Json) -> Callable[[PackedResponse], str]:
    """The same function, called in a helper process."""
    violations_of = _build_validation(schema)
    return lambda packed: violations_of(unpack_response(packed))


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
