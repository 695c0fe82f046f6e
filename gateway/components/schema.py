"""JSON Schema: whether a value is valid, and its violations. The only user of the validator.

Drafts 4, 6, 7, 2019-09 and 2020-12; a schema without ``$schema`` is read as 2020-12.
``format`` is asserted by drafts 4, 6 and 7 only (as in santhosh-tekuri/jsonschema, which KrakenD
uses).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from ..config.findings import key_path
from ..config.json_types import Json
from ..config.suggest import unknown
from .schema_patterns import KEYWORD, GoPattern, with_go_patterns
from .schema_survey import has_more_values, max_listed_values

if TYPE_CHECKING:
    import jsonschema_rs

Validate: TypeAlias = Callable[[Json], str]
"""The violations of a value, one on each line with its JSON pointer; empty: the value is valid."""

NEWER_FORMATS = (
    "duration",
    "iri",
    "iri-reference",
    "json-pointer",
    "relative-json-pointer",
    "uri-reference",
    "uri-template",
    "uuid",
)
"""Formats that drafts 4, 6 and 7 assert too, although not all of them define these."""

TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")

MAX_VIOLATIONS = 10
"""Violations that are listed for one value."""
MAX_VIOLATION_LENGTH = 200
"""Characters of one violation."""
WITHOUT_DETAILS = "- at '': value does not match its schema"
MAX_BACKTRACKS = 300
"""How often a pattern that is not RE2's may go back in one string. A string that needs more does
not match. Each time costs 0.8 ns a character (``(?=a)(a*)*b$`` on 100 kB: 8 s without a bound)."""


def schema_problem(schema: Json) -> tuple[str, str] | None:
    """The path and the reason for which a schema cannot be used; None when it can be used."""
    import jsonschema_rs

    try:
        _build_validator(schema)
    except jsonschema_rs.ValidationError as error:
        return _inner(error.instance_path), f"not a JSON schema: {_description(error)}"
    except (ValueError, TypeError, RecursionError) as error:
        return "", f"not a JSON schema: {_shortened(str(error))}"
    return None


def _description(error: jsonschema_rs.ValidationError) -> str:
    path = list(error.instance_path)
    if path and path[-1] == "type" and isinstance(error.instance, str):
        return unknown(error.instance, TYPES)
    if path and path[-1] == "type":
        return f"expected a type or a list of types; there are: {', '.join(TYPES)}"
    if "'anyOf'" in error.message:
        return "this value is not allowed here"
    return _shortened(error.message)


def build_validate(schema: Json) -> Validate:
    """For a schema without problems. References outside of the schema are never fetched.

    Violations do not repeat the value. Where a list of them would take long, the text is
    :data:`WITHOUT_DETAILS`.
    """
    validator = _build_validator(schema, mask="value")
    listed_values = max_listed_values(schema)

    def validate(value: Json) -> str:
        try:
            if validator.is_valid(value):
                return ""
            if has_more_values(value, listed_values):
                return WITHOUT_DETAILS
            return "\n".join(
                f"- at '{_shortened(_pointer(error.instance_path))}': {_shortened(error.message)}"
                for error in islice(validator.iter_errors(value), MAX_VIOLATIONS)
            )
        except (ValueError, RecursionError) as error:  # the value is too deep for the validator
            return f"- it cannot be validated: {_shortened(str(error))}"

    return validate


def _build_validator(schema: Json, mask: str | None = None) -> jsonschema_rs.Validator:
    import jsonschema_rs

    prepared: Any = with_go_patterns(schema)  # the validator refuses what is not a schema
    return jsonschema_rs.validator_for(
        prepared,
        offline=True,
        mask=mask,
        formats={name: _build_format(name) for name in NEWER_FORMATS},
        keywords={KEYWORD: GoPattern},
        pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=MAX_BACKTRACKS),
    )


@cache
def _build_format(name: str) -> Callable[[str], bool]:
    import jsonschema_rs

    schema = {"format": name}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True).is_valid


def _pointer(path: Iterable[str | int]) -> str:
    return "".join(f"/{key}" for key in path)


def _inner(path: Iterable[str | int]) -> str:
    inner = ""
    for key in path:
        inner = f"{inner}[{key}]" if isinstance(key, int) else key_path(inner, key)
    return inner.removeprefix(".")


def _shortened(text: str) -> str:
    line = " ".join(text[: 4 * MAX_VIOLATION_LENGTH].split("\n\n", 1)[0].split())
    return line if len(line) <= MAX_VIOLATION_LENGTH else line[:MAX_VIOLATION_LENGTH] + "..."
