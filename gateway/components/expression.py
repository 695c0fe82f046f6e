"""CEL: compiles an expression to a condition. The only user of the library.

The environment is KrakenD's: CEL's standard library, its macros, and the variables below.
(krakend-cel)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from ..errors import TooManyValues
from ..telemetry.logs import get_logger

if TYPE_CHECKING:
    from cel_expr_python import cel

log = get_logger("gateway.cel")

Condition: TypeAlias = Callable[[Mapping[str, object]], bool]
"""Whether an expression is true for the variables. An expression that fails is false."""

MAX_VALUES = 500
"""Values that the variables of an expression with a macro may have on the event loop: 20 ms at
most. Measured at worst: ``map`` 10 ms for 500 values, ``+`` of lists in ``all`` 20 ms; both take
four times as long for twice as many."""
MAX_VALUES_NESTED = 50
"""The same where a macro is inside another, and one is ``map`` or ``filter``: 200 ms for 500."""


@cache
def _environment() -> cel.Env:
    from cel_expr_python import cel

    string = cel.Type.STRING
    lists = cel.Type.Map(string, cel.Type.List(string))
    anything = cel.Type.Map(string, cel.Type.DYN)
    return cel.NewEnv(
        variables={
            "now": string,
            "req_method": string,
            "req_path": string,
            "req_params": cel.Type.Map(string, string),
            "req_headers": lists,
            "req_querystring": lists,
            "resp_completed": cel.Type.BOOL,
            "resp_metadata_status": cel.Type.INT,
            "resp_metadata_headers": lists,
            "resp_data": anything,
            "JWT": anything,
        }
    )


def syntax_problem(text: str) -> str:
    """The syntax error of an expression; empty when there is none."""
    return _problem(text, disable_check=True)


def type_problem(text: str) -> str:
    """Why an expression will most likely fail: an unknown name, or types that do not match."""
    return _problem(text, disable_check=False)


def _problem(text: str, *, disable_check: bool) -> str:
    try:
        _environment().compile(text, disable_check=disable_check)
    except RuntimeError as error:
        first = str(error).splitlines()[0].removesuffix("[INVALID_ARGUMENT]").rstrip()
        text = first.removeprefix("INVALID_ARGUMENT: ERROR: <input>:").removeprefix("CANCELLED: ")
        return _description(text)
    return ""


_SYNTAX = re.compile(r"(\d+:\d+): Syntax error: [\w ]+:? '(.*?)'(?: expecting .*)?")


def _description(text: str) -> str:
    """Line, column and the unexpected token, without the parser's list of expected tokens."""
    found = _SYNTAX.fullmatch(text)
    if found is None:
        return text
    what = "the expression ends too early" if found[2] == "<EOF>" else f"unexpected '{found[2]}'"
    return f"{found[1]}: {what}"


_MACRO = re.compile(r"\b(?P<macro>all|exists|exists_one|map|filter)\s*\(")
_MACRO_OR_PARENTHESIS = re.compile(
    _MACRO.pattern + r"""|\(|\)|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'"""
)


def max_values(text: str) -> int | None:
    """The values that the variables of an expression may have on the event loop; None: no bound."""
    macros = set(
        _MACRO.findall(text)
    )  # also those in strings: r'\' ends where other strings do not
    if not macros:
        return None
    open_macros: list[bool] = []
    is_nested = False
    for found in _MACRO_OR_PARENTHESIS.finditer(text):
        if found["macro"]:
            is_nested = is_nested or any(open_macros)
        if found[0].endswith("("):
            open_macros.append(found["macro"] is not None)
        elif found[0] == ")" and open_macros:
            open_macros.pop()
    return MAX_VALUES_NESTED if is_nested and macros & {"map", "filter"} else MAX_VALUES


def build_bounded_condition(text: str) -> Condition:
    """As :func:`build_condition`, for values from a client: their number is bounded.

    The function raises :class:`gateway.errors.TooManyValues`.
    """
    condition, limit = build_condition(text), max_values(text)
    if limit is None:
        return condition

    def bounded(variables: Mapping[str, object]) -> bool:
        named = [value for name, value in variables.items() if name in text]
        if _has_more(named, limit):
            log.debug("%s: more than %d values", text, limit)
            raise TooManyValues(limit)
        return condition(variables)

    return bounded


def _has_more(values: list[object], limit: int) -> bool:
    """Whether there are more than ``limit`` values in lists and maps, all levels counted."""
    count = 0
    while values and count <= limit:
        value = values.pop()
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list) and value:
            values += value
        else:
            count += 1
    return count > limit


def build_condition(text: str) -> Condition:
    """For an expression without a syntax error."""
    environment = _environment()
    # Types are checked when it runs: an expression may be true although the type checker objects.
    evaluate = environment.compile(text, disable_check=True).eval

    def condition(variables: Mapping[str, object]) -> bool:
        result: object
        try:
            result = evaluate(data=variables).value()
        except RuntimeError as error:  # a string that is not UTF-8, too many steps
            result = error
        if result is not True:
            log.debug("%s: %r", text, result)
        return result is True

    return condition
