"""JSON Schema: what it takes to tell whether a value fits. The one place that knows the validator.

Drafts 4, 6, 7, 2019-09 and 2020-12; 2020-12 where ``$schema`` says nothing. ``format`` is asserted
by drafts 4, 6 and 7 only (as in santhosh-tekuri/jsonschema, which KrakenD uses).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from ..config.findings import key_path
from ..config.suggest import unknown
from .schema_patterns import KEYWORD, GoPattern, with_go_patterns
from .schema_survey import explained_size, has_more_values

if TYPE_CHECKING:
    import jsonschema_rs

Misfit: TypeAlias = Callable[[Any], str]
"""What is wrong with a value, a line each with its JSON pointer; empty: it fits."""

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
"""What the old drafts assert as well, though not all of them define it."""

TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")

MAX_REASONS = 10
"""Lines about one value."""
MAX_LINE = 200
"""Characters of a line."""
UNEXPLAINED = "- at '': value does not match its schema"
MAX_BACKTRACKS = 300
"""Of a pattern that is not RE2's, for one string; beyond it the string does not match. Each costs
0.8 ns a character (``(?=a)(a*)*b$`` on 100 kB: 8 s without a bound)."""


def schema_problem(schema: object) -> tuple[str, str] | None:
    """Why a schema cannot be used: the path in it, and the reason; None when it can."""
    import jsonschema_rs

    try:
        _build_validator(schema)
    except jsonschema_rs.ValidationError as error:
        return _inner(error.instance_path), f"not a JSON schema: {_in_words(error)}"
    except (ValueError, TypeError, RecursionError) as error:
        return "", f"not a JSON schema: {_shortened(str(error))}"
    return None


def _in_words(error: jsonschema_rs.ValidationError) -> str:
    path = list(error.instance_path)
    if path and path[-1] == "type" and isinstance(error.instance, str):
        return unknown(error.instance, TYPES)
    if path and path[-1] == "type":
        return f"expected a type or a list of types; there are: {', '.join(TYPES)}"
    if "'anyOf'" in error.message:
        return "this value is not allowed here"
    return _shortened(error.message)


def build_misfit(schema: Any) -> Misfit:
    """For a schema without problems. Whatever it refers to stands in it: nothing is fetched.

    What is said of a value does not repeat it. Where it would take long, no fault is named.
    """
    validator = _build_validator(schema, mask="value")
    most_explained = explained_size(schema)

    def misfit(value: Any) -> str:
        try:
            if validator.is_valid(value):
                return ""
            if has_more_values(value, most_explained):
                return UNEXPLAINED
            return "\n".join(
                f"- at '{_shortened(_pointer(error.instance_path))}': {_shortened(error.message)}"
                for error in islice(validator.iter_errors(value), MAX_REASONS)
            )
        except (ValueError, RecursionError) as error:  # deeper than the validator goes
            return f"- it cannot be validated: {_shortened(str(error))}"

    return misfit


def _build_validator(schema: Any, mask: str | None = None) -> jsonschema_rs.Validator:
    import jsonschema_rs

    return jsonschema_rs.validator_for(
        with_go_patterns(schema),
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
    line = " ".join(text[: 4 * MAX_LINE].split("\n\n", 1)[0].split())
    return line if len(line) <= MAX_LINE else line[:MAX_LINE] + "..."
