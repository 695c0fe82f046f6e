"""``validation/json-schema`` on endpoints and agents: the body, before anybody is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from ..assembly import Assembly
from ..config.structs import Endpoint
from ..encoding import DecodeError, decode_value
from ..errors import InvalidBody
from ..proxy import Branch, Request, Stage
from .around import wrapped
from .schema import build_misfit, schema_problem

NAMESPACE = "validation/json-schema"


class JsonSchemaSettings(Struct, frozen=True):
    """The value of the namespace is the schema."""

    schema: Any = None


def verify_json_schema(settings: JsonSchemaSettings) -> Iterator[tuple[str, str]]:
    if (problem := schema_problem(settings.schema)) is not None:
        yield problem


def build_json_schema(
    settings: JsonSchemaSettings, endpoint: Endpoint, assembly: Assembly
) -> Stage:
    """Requests whose body is no JSON, or does not fit, are refused: no message is taken or sent."""
    misfit = build_misfit(settings.schema)

    def fitting(request: Request) -> Request:
        if not request.body:
            raise InvalidBody("could not validate an empty body")
        try:
            value = decode_value(request.body)
        except DecodeError as error:
            raise InvalidBody(str(error)) from error
        if text := misfit(value):
            raise InvalidBody(text)
        return request

    def stage(branch: Branch) -> Branch:
        return wrapped(branch, before=fitting)._replace(reads_body=True)

    return stage
