"""``validation/json-schema``: validates a request's body before any backend is called.

On endpoints and agents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from ..config.findings import Finding
from ..config.json_types import Json
from ..config.structs import Endpoint
from ..core.component import Assembly, Component, Place
from ..core.families import ValidationSettings
from ..core.helpers import Helped
from ..core.proxy import P, Request, Stage
from ..core.stage import Functions, intercepted
from ..encoding import DecodeError, decode_value
from ..errors import InvalidBody
from .large_requests import LargeRequests, with_large_requests
from .schema import build_validate, schema_problem

MAX_INLINE_BYTES = 32 * 1024
"""Bytes of a body that is validated on the event loop: 20 ms at most. A helper process validates
larger bodies. Measured at worst: 240 ns a byte to decode (arrays in arrays), 260 ns to compare
(uniqueItems)."""

APPLY_TO_EVERY_VALUE = frozenset(
    ("type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf", "not")
)
"""Keywords that apply to values of every type."""


class JsonSchemaSettings(ValidationSettings, Struct, frozen=True):
    """The value of the namespace is the schema."""

    schema: Any = None
    """The JSON Schema that the body of each request must match. ``$schema`` may name draft 4, 6, 7,
    2019-09 or 2020-12; absent: 2020-12. A ``$ref`` must not leave the schema."""


def verify_json_schema(settings: JsonSchemaSettings) -> Iterator[tuple[str, str]]:
    if (problem := schema_problem(settings.schema)) is not None:
        yield problem


def build_json_schema(
    settings: JsonSchemaSettings, endpoint: Endpoint, assembly: Assembly
) -> Stage:
    """A request with an invalid body is refused: no message is taken and no backend called."""
    violations_of = build_body_validation(settings.schema)

    def validated(request: Request) -> Request:
        return with_violations(request, violations_of(request.body))

    def with_violations(request: Request, violations: str) -> Request:
        if violations:
            raise InvalidBody(violations)
        return request

    large = LargeRequests(
        MAX_INLINE_BYTES,
        Helped(assembly.helpers, build_body_validation, settings.schema),
        lambda request: (request.body,),
        with_violations,
    )

    def stage(pipe: P, /) -> P:
        return with_large_requests(intercepted(pipe, Functions(validated)), pipe, large)

    return stage


def build_body_validation(schema: Json) -> Callable[[bytes], str]:
    """A function of a body: why the body is refused; empty when it is valid."""
    validate = build_validate(schema)

    def violations_of(body: bytes) -> str:
        if not body:
            return "could not validate an empty body"
        try:
            return validate(decode_value(body))
        except DecodeError as error:
            return str(error)

    return violations_of


def findings(settings: JsonSchemaSettings, place: Place) -> Iterator[Finding]:
    if place.agent is None and place.endpoint is not None and place.endpoint.method == "GET":
        yield place.warning("every GET without a body is refused with status 400")
    schema: Json = settings.schema
    if isinstance(schema, dict) and not APPLY_TO_EVERY_VALUE & schema.keys():
        text = 'without "type" a value of another type (a string, a list) is valid'
        yield place.warning(text)


COMPONENT = Component(
    "validation/json-schema",
    JsonSchemaSettings,
    aliases=("github.com/devopsfaith/krakend-jsonschema",),
    whole="schema",
    verify=verify_json_schema,
    endpoint_stage=build_json_schema,
    passes_bodies=True,
    findings=findings,
)
