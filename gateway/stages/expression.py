"""CEL: from a text to something that holds or does not. The one place that knows the library.

KrakenD's environment: CEL's standard library and macros, and the variables below. (krakend-cel)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeAlias

from ..logs import get_logger

log = get_logger("gateway.cel")

Holds: TypeAlias = Callable[[Mapping[str, Any]], bool]
"""Whether an expression is true for the variables; false as well for an error in it."""

Environment: TypeAlias = Any


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
