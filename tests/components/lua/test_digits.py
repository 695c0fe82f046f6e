"""Numbers and texts: what is expected was written by gopher-lua 1.1.1."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.lua.digits import float_text, number_text, with_joints
from gateway.components.lua.sandbox import Sandbox, ScriptFailure, Session
from gateway.components.lua.scripts import FUNCTIONS

SANDBOX = Sandbox(FUNCTIONS, opens_libs=True, max_instructions=1_000_000)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (358240051111110, "358240051111110"),
        (1e6, "1000000"),
        (2.0**53, "9007199254740992"),
        (-(2.0**63), "-9223372036854775808"),
        (2.0**63, "9.223372036854776e+18"),
        (1e20, "1e+20"),
        (-0.0, "0"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1 / 3, "0.3333333333333333"),
        (999999.5, "999999.5"),
        (1234567.5, "1.2345675e+06"),
        (123456789.25, "1.2345678925e+08"),
        (1.5e-4, "0.00015"),
        (1.5e-5, "1.5e-05"),
        (1e100, "1e+100"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
    ],
)
def test_a_number_is_written_as_by_gopher_lua(number: float, text: str) -> None:
    assert number_text(number) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_number_is_that_number(number: float) -> None:
    assert float(number_text(number)) == number
    assert float(float_text(number)) == number


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (b"a..b", b"a ..__joint.. b"),
        (b"a1..b2 .. .5", b"a1 ..__joint.. b2  ..__joint..  .5"),
        (b'f(...) \'a..b\' "\\".." [[..]] [==[..]]..]==]', None),
        (b"--[[ a..b\n ]] --[==[ a..b ]] ]==] -- a..b\n", None),
        (b"'\\'..'..\"..\"", b"'\\'..' ..__joint.. \"..\""),
        (b"x...", None),
        (b"...", None),
    ],
)
def test_only_the_operator_gets_the_joint(code: bytes, expected: bytes | None) -> None:
    assert with_joints(code) == (code if expected is None else expected)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("'imei-' .. 358240051111110", "imei-358240051111110"),
        ("358240051111110 .. ''", "358240051111110"),
        ("1 .. 2 .. 'x' .. 2^53 .. 0.1 + 0.2", "12x90071992547409920.30000000000000004"),
        ("('a' .. 1) .. ('b' .. 2 .. 'c')", "a1b2c"),
        ("1 .. 2 == '12' and not ('a' .. 1 ~= 'a1')", "true"),
        ("-1 .. ''", "-1"),
        ("tostring(358240051111110)", "358240051111110"),
        ("tostring(nil) .. tostring(true)", "niltrue"),
        ("table.concat({358240051111110, 'a', 2^63}, 1e15)",
         "3582400511111101000000000000000a10000000000000009.223372036854776e+18"),
        ("table.concat({1, 2, 3.5}, ',', 2, 3)", "2,3.5"),
        ("table.concat({'a', 'b'}, ', ')", "a, b"),
        ("string.sub(358240051111110, 1, 8)", "35824005"),
        ("string.len(358240051111110)", "15"),
        ("string.upper(1e20)", "1E+20"),
        ("string.rep(358240051111110, 2)", "358240051111110358240051111110"),
        ("string.find(358240051111110, 51111110)", "8"),
        ("string.match(358240051111110, '^%d+$')", "358240051111110"),
        ("('x'):gsub('x', 358240051111110)", "358240051111110"),
        ("('x'):gsub('x', {x = 358240051111110})", "358240051111110"),
        ("('x'):gsub('x', function(x) return 358240051111110, x end)", "358240051111110"),
        ("('xy'):gsub('.', {x = false})", "xy"),
        ("string.format('%s|%5s|%q', 358240051111110, 7, 1.5)", '358240051111110|    7|"1.5"'),
        ("string.format('%d|%i|%x', 358240051111110, 7, 255)", "358240051111110|7|ff"),
        ("string.format('%v|%g|%g|%G|%.3g', 1e15, 1/3, 1e6, 1e-7, 1234567)",
         "1000000000000000|0.3333333333333333|1e+06|1E-07|1.23e+06"),
        ("string.format('%s %s %s%%', nil, true, 'a%sb')", "nil true a%sb%"),
    ],
)  # fmt: skip
def test_a_script_writes_numbers_as_in_krakend(expression: str, text: str) -> None:
    check = f"local found = tostring(({expression})) if found ~= '{text}' then error(found) end"
    Session(SANDBOX).run(SANDBOX.compile(check, "pre-script"))


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("('Käse É'):upper()", "KÄSE É"),
        ("string.lower('ÄÖÜ X')", "äöü x"),
        ("('abc'):upper() .. ('ABC'):lower()", "ABCabc"),
        ("('\\255a'):upper()", "\ufffdA"),
    ],
)
def test_letters_beyond_ascii_have_capitals_too(expression: str, text: str) -> None:
    check = f"local found = {expression} if found ~= '{text}' then error(found) end"
    Session(SANDBOX).run(SANDBOX.compile(check, "pre-script"))


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("\nlocal x = 'a' .. nil", "cannot perform concat operation between string and nil"),
        ("\nlocal x = luaNil.new() .. 'a'", "concat operation between userdata and string"),
        ("\nstring.sub(nil, 1)", "bad argument #1 to 'sub' (string expected, got nil)"),
        ("\nstring.rep()", "bad argument #1 to 'rep' (string expected, got nil)"),
        ("\n('x'):find({})", "bad argument #2 to 'find' (string expected, got table)"),
        ("\n('x'):find({}, 1, true)", "bad argument #2 to 'find' (string expected, got table)"),
        ("\nstring.format(true)", "bad argument #1 to 'format' (string expected, got boolean)"),
    ],
)
def test_joining_a_table_is_an_error_of_that_line(code: str, text: str) -> None:
    with pytest.raises(ScriptFailure) as caught:
        Session(SANDBOX).run(SANDBOX.compile(code, "pre-script"))
    assert text in str(caught.value)
    assert str(caught.value).endswith(" (pre-script:L2)")


@pytest.mark.parametrize(
    "code",
    [
        """
            local t = setmetatable({}, {__concat = function(a, b) return {a, b} end})
            local r = 1 .. t assert(r[1] == 1 and r[2] == t)
            r = t .. 'a' .. 2 assert(r[1] == t and r[2] == 'a2')
        """,
        "local s = '' for i = 1, 3 do s = s .. i .. ',' end assert(s == '1,2,3,')",
        "local function f(...) return select('#', ...) .. ... end assert(f('a') == '1a')",
        "assert(not pcall(function() return 'a' .. nil end))",
        "assert(type(request) == 'nil' and type(luaTable.new()) == 'userdata')",
        "assert(tonumber('358240051111110') .. '' == '358240051111110')",
    ],
)
def test_the_operator_is_lua_s_for_everything_else(code: str) -> None:
    Session(SANDBOX).run(SANDBOX.compile(code, "pre-script"))
