"""CEL: from a text to something that holds or does not. The one place that knows the library.

KrakenD's environment: CEL's standard library and macros, and the variables below. (krakend-cel)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeAlias

from ..errors import TooManyValues
from ..telemetry.logs import get_logger

log = get_logger("gateway.cel")

Holds: TypeAlias = Callable[[Mapping[str, Any]], bool]
"""Whether an expression is true for the variables; false as well for an error in it."""

Environment: TypeAlias = Any

MAX_VALUES = 500
"""That a macro may see on the event loop: 20 ms at most. Measured at worst: ``map`` 10 ms for 500
values, ``+`` of lists in ``all`` 20 ms; both take four times as long for twice as many."""
MAX_VALUES_NESTED = 50
"""The same where a macro is inside another, and one is ``map`` or ``filter``: 200 ms for 500."""


@cache
def _environment() -> Environment:
    from cel_expr_python import cel  # type: ignore[import-untyped]

    text = cel.Type.STRING
    lists = cel.Type.Map(text, cel.Type.List(text))
    anything = cel.Type.Map(text, cel.Type.DYN)
    return cel.NewEnv(
        variables={
            "now": text,
            "req_method": text,
            "req_path": text,
            "req_params": cel.Type.Map(text, text),
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
    """Why a text is no expression; empty when it is one."""
    return _problem(text, disable_check=True)


def type_problem(text: str) -> str:
    """Why an expression will most likely fail: an unknown name, types that do not go together."""
    return _problem(text, disable_check=False)


def _problem(text: str, *, disable_check: bool) -> str:
    try:
        _environment().compile(text, disable_check=disable_check)
    except RuntimeError as error:
        first = str(error).splitlines()[0].removesuffix("[INVALID_ARGUMENT]").rstrip()
        text = first.removeprefix("INVALID_ARGUMENT: ERROR: <input>:").removeprefix("CANCELLED: ")
        return _in_words(text)
    return ""


_SYNTAX = re.compile(r"(\d+:\d+): Syntax error: [\w ]+:? '(.*?)'(?: expecting .*)?")


def _in_words(text: str) -> str:
    """Line, column and what the parser stumbled over, without the tokens that it expected."""
    found = _SYNTAX.fullmatch(text)
    if found is None:
        return text
    what = "the expression ends too early" if found[2] == "<EOF>" else f"unexpected '{found[2]}'"
    return f"{found[1]}: {what}"


_MACRO = re.compile(r"\b(?P<macro>all|exists|exists_one|map|filter)\s*\(")
_MACRO_OR_PARENTHESIS = re.compile(
    _MACRO.pattern + r"""|\(|\)|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'"""
)


def most_values(text: str) -> int | None:
    """How many values an expression may see on the event loop; None: as many as it likes."""
    macros = set(_MACRO.findall(text))  # in texts, too: r'\' ends where other texts do not
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


def build_bounded_holds(text: str) -> Holds:
    """As :func:`build_holds`, on the event loop for what a client has sent.

    The function raises :class:`gateway.errors.TooManyValues`.
    """
    holds, most = build_holds(text), most_values(text)
    if most is None:
        return holds

    def bounded(variables: Mapping[str, Any]) -> bool:
        seen = [value for name, value in variables.items() if name in text]
        if _has_more(seen, most):
            log.debug("%s: more than %d values", text, most)
            raise TooManyValues(most)
        return holds(variables)

    return bounded


def _has_more(values: list[Any], most: int) -> bool:
    """Whether lists and maps hold more values than that, at all depths together."""
    count = 0
    while values and count <= most:
        value = values.pop()
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list) and value:
            values += value
        else:
            count += 1
    return count > most


def build_holds(text: str) -> Holds:
    """For an expression without syntax problems."""
    environment = _environment()
    # Types are looked at when it runs: what a checker objects to may hold all the same.
    evaluate = environment.compile(text, disable_check=True).eval

    def holds(variables: Mapping[str, Any]) -> bool:
        try:
            result = evaluate(data=variables).value()
        except RuntimeError as error:  # a text that is not UTF-8, too many steps
            result = error
        if result is not True:
            log.debug("%s: %r", text, result)
        return result is True

    return holds
