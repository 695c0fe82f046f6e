"""Traps of ``validation/...``: what is never evaluated, and what always fails. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...components.auth.validator import NAMESPACE as VALIDATOR
from ...components.cel import NAMESPACE as CEL
from ...components.cel import REQUEST, RESPONSE, TOKEN, CelSettings, phases
from ...components.expression import type_problem
from ...components.json_schema import NAMESPACE as JSON_SCHEMA
from ...components.response_json_schema import NAMESPACE as ANSWER_SCHEMA
from ...config.findings import Finding
from ...config.structs import Agent, Backend, Endpoint

CONSUMER = "backend/amqp/consumer"
COMES_AGAIN = "a message whose answer fails is set aside, and comes again after a growing pause"

ANY_VALUE = frozenset(("type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf", "not"))
"""Keywords that have something to say of every value."""


def check_validation(part: Endpoint | Agent, path: str) -> Iterator[Finding]:
    """Remarks on an endpoint or an agent and its backends; ``path``: of it."""
    has_tokens = VALIDATOR in part.extra_config
    yield from _check_cel(part.extra_config.get(CEL), path, has_tokens=has_tokens)
    yield from _check_schema(part, path)
    for number, backend in enumerate(part.backend):
        yield from _check_backend(backend, f"{path}.backend[{number}]")


def _check_backend(backend: Backend, path: str) -> Iterator[Finding]:
    settings = backend.extra_config.get(CEL)
    yield from _check_cel(settings, path, has_tokens=False)
    if CONSUMER not in backend.extra_config:
        return
    if ANSWER_SCHEMA in backend.extra_config:
        yield _warning(path, ANSWER_SCHEMA, "", COMES_AGAIN)
    texts = [each.check_expr for each in settings.expressions] if settings else []
    if any(RESPONSE in phases(text) for text in texts):
        yield _warning(path, CEL, "", COMES_AGAIN)


def _check_cel(settings: CelSettings | None, path: str, *, has_tokens: bool) -> Iterator[Finding]:
    for place, expression in enumerate(settings.expressions if settings else ()):
        for text in _about(expression.check_expr, has_tokens=has_tokens):
            yield _warning(path, CEL, f"[{place}].check_expr", text)


def _about(text: str, *, has_tokens: bool) -> Iterator[str]:
    when = phases(text)
    if not when:
        yield "names neither a request nor an answer nor a token: it is never evaluated"
        return
    if when == [TOKEN] and not has_tokens:
        yield f"there is no token without {VALIDATOR} on the endpoint: it is never evaluated"
        return
    if REQUEST in when and RESPONSE in when:
        yield "names both a request and an answer: whichever is not there is an error"
    elif TOKEN in when and len(when) > 1:
        yield "names a token beside something else: whichever is not there is an error"
    if problem := type_problem(text):
        yield f"may fail every time: {problem}"


def _check_schema(part: Endpoint | Agent, path: str) -> Iterator[Finding]:
    settings = part.extra_config.get(JSON_SCHEMA)
    if settings is None:
        return
    if isinstance(part, Endpoint) and part.method == "GET":
        yield _warning(path, JSON_SCHEMA, "", "every GET without a body is refused with 400")
    schema: Mapping[str, Any] | bool = settings.schema
    if isinstance(schema, Mapping) and not ANY_VALUE & schema.keys():
        text = 'without "type" whatever is none of what it describes passes: a text, a list ...'
        yield _warning(path, JSON_SCHEMA, "", text)


def _warning(path: str, namespace: str, inner: str, text: str) -> Finding:
    return Finding(f'{path}.extra_config["{namespace}"]{inner}', "warning", text)
