"""Numbers as text, in the format of KrakenD's Lua (gopher-lua). Pure.

Lua 5.1 itself writes ``%.14g``: an identifier of 15 digits would lose its last one. The operator
``..`` does this inside the virtual machine. So scripts are compiled with one more operand between
its operands: an object whose metamethod joins them.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

JOINT = b"__joint"
"""The global name of the object between the operands of ``..``."""

_MAX_DIGITS = 2.0**63
"""From this value on whole numbers are written with an exponent, too."""
_PLAIN_EXPONENTS = range(-4, 6)
"""Numbers with these exponents are written without one (Go, strconv, %g, shortest digits)."""

_TOKENS = re.compile(
    rb"""
    --\[(?P<comment>=*)\[.*?\](?P=comment)\] | --[^\n]*
    | \[(?P<long>=*)\[.*?\](?P=long)\]
    | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*'
    | [A-Za-z_]\w* | \.?\d(?:[eE][+-]|[\w.])*
    | \.\.\.
    | (?P<concat>\.\.)
    """,
    re.DOTALL | re.VERBOSE,
)


def number_text(value: float) -> str:
    """Whole numbers with all digits, others with as many as identify the number.

    As by ``tostring`` and ``..`` of gopher-lua: 358240051111110, 0.1, 1.5e+06, 1e+21, NaN, +Inf.
    """
    value = float(value)
    if -_MAX_DIGITS <= value < _MAX_DIGITS and value.is_integer():
        return str(int(value))
    return float_text(value)


def float_text(value: float) -> str:
    """As by ``string.format("%g", value)`` of gopher-lua, which is Go's."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    number = Decimal(repr(float(value))).normalize()
    if not number or number.adjusted() in _PLAIN_EXPONENTS:
        return f"{number:f}"
    sign, digits, _ = number.as_tuple()
    first, *rest = map(str, digits)
    point = "." if rest else ""
    return f"{'-' * sign}{first}{point}{''.join(rest)}e{number.adjusted():+03d}"


def with_joints(code: bytes) -> bytes:
    """``a .. b`` becomes ``a ..__joint.. b``; nothing else changes, and no line moves."""
    if b".." not in code:
        return code
    return _TOKENS.sub(_joined, code)


def _joined(token: re.Match[bytes]) -> bytes:
    return b" ..%b.. " % JOINT if token["concat"] else token[0]
