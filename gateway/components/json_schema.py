"""``validation/json-schema`` on endpoints and agents: the body, before anybody is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from ..config.findings import Finding
from ..config.structs import Endpoint
from ..core.component import Assembly, Component, Place
from ..core.families import ValidationSettings
from ..core.helpers import Helped
from ..core.proxy import P, Request, Stage
from ..core.stage import Functions, intercepted
from ..encoding import DecodeError, decode_value
from ..errors import InvalidBody
from .large_requests import LargeRequests, with_large_requests
from .schema import build_misfit, schema_problem

NAMESPACE = "validation/json-schema"
MAX_INLINE_BYTES = 32 * 1024
"""Bytes that are validated on the event loop: 20 ms at most. A helper process validates others.
Measured at worst: 240 ns a byte to decode (arrays in arrays), 260 ns to compare (uniqueItems)."""

ANY_VALUE = frozenset(("type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf", "not"))
"""Keywords that have something to say of every value."""


class JsonSchemaSettings(ValidationSettings, Struct, frozen=True):
    """The value of the namespace is the schema."""

    schema: Any = None


def verify_json_schema(settings: JsonSchemaSettings) -> Iterator[tuple[str, str]]:
    if (problem := schema_problem(settings.schema)) is not None:
        yield problem


def build_json_schema(
    settings: JsonSchemaSettings, endpoint: Endpoint, assembly: Assembly
) -> Stage:
    """Requests whose body is no JSON, or does not fit, are refused: no message is taken or sent."""
    problem = build_problem(settings.schema)

    def fitting(request: Request) -> Request:
        return judged(request, problem(request.body))

    def judged(request: Request, text: str) -> Request:
        if text:
            raise InvalidBody(text)
        return request

    large = LargeRequests(
        MAX_INLINE_BYTES,
        Helped(assembly.helpers, build_problem, settings.schema),
        lambda request: (request.body,),
        judged,
    )

    def stage(pipe: P, /) -> P:
        return with_large_requests(intercepted(pipe, Functions(fitting)), pipe, large)

    return stage


def build_problem(schema: Any) -> Callable[[bytes], str]:
    """From a body to why it is refused; empty: it fits."""
    misfit = build_misfit(schema)

    def problem(body: bytes) -> str:
        if not body:
            return "could not validate an empty body"
        try:
            return misfit(decode_value(body))
        except DecodeError as error:
            return str(error)

    return problem


def findings(settings: JsonSchemaSettings, place: Place) -> Iterator[Finding]:
    if place.agent is None and place.endpoint is not None and place.endpoint.method == "GET":
        yield place.warning("every GET without a body is refused with 400")
    schema: Mapping[str, Any] | bool = settings.schema
    if isinstance(schema, Mapping) and not ANY_VALUE & schema.keys():
        text = 'without "type" whatever is none of what it describes passes: a text, a list ...'
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
