"""The table of cases in lura's integration test: as much of Go as it is written in. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

TABLE = re.compile(r"range\s*\[\]struct\s*\{[^}]*\}\s*(?=\{)")
"""What comes before the cases: ``for _, tc := range []struct {...}{``."""
MAP = re.compile(r"(\w+)\s*:=\s*map\[string\]string(?=\{)")
"""Headers that several cases expect have a name."""

_TOKEN = re.compile(
    r"""(?P<blank>\s+|//[^\n]*)
    |(?P<raw>`[^`]*`)
    |(?P<text>"(?:[^"\\\n]|\\.)*")
    |(?P<number>\d+)
    |(?P<type>map\[string\]string)
    |(?P<name>[A-Za-z_]\w*(?:\.\w+)*)
    |(?P<sign>[{}():,+])""",
    re.VERBOSE,
)


class Case(NamedTuple):
    """A request, and what is expected; an empty ``body`` is not compared."""

    name: str
    url: str
    method: str
    headers: Mapping[str, str]
    content: bytes | None
    status: int
    expected: Mapping[str, str]
    body: str


class GoError(ValueError):
    """The file is not written as this reads it; the text says where."""


def read_cases(source: str, values: Mapping[str, Any]) -> list[Case]:
    """``values``: of the names that cases use, ``cfg.Port`` and ``localhostIP``."""
    known: dict[str, Any] = dict(values)
    for found in MAP.finditer(source):
        known[found[1]] = _Reader(source, found.end(), known).literal()
    table = TABLE.search(source)
    if table is None:
        raise GoError("no table of cases: for ... range []struct {...}{")
    return [_case(each) for each in _Reader(source, table.end(), known).literal()]


def _case(fields: Mapping[str, Any]) -> Case:
    content = fields.get("body", "")
    return Case(
        fields["name"],
        fields["url"],
        fields.get("method") or "GET",
        fields.get("headers") or {},
        content.encode() if content else None,
        fields.get("expStatusCode") or 200,
        fields.get("expHeaders") or {},
        fields.get("expBody", ""),
    )


class _Reader:
    """Reads literals from a place in the source on."""

    def __init__(self, source: str, at: int, known: Mapping[str, Any]) -> None:
        self._source = source
        self._at = at
        self._known = known
        self._kind, self._text = "", ""
        self._next()

    def literal(self) -> Any:
        """``{a, b}`` is a list, ``{key: value}`` a dictionary; an empty one is a dictionary."""
        self._take("{")
        items: list[Any] = []
        fields: dict[Any, Any] = {}
        while self._text != "}":
            value = self._key_or_value()
            if self._text == ":":
                self._take(":")
                fields[value] = self._value()
            else:
                items.append(value)
            if self._text == ",":
                self._take(",")
        self._take("}", is_last=True)
        return items or fields

    def _key_or_value(self) -> Any:
        """The name of a field is a name that nothing is known of."""
        if self._kind == "name" and self._text not in self._known and "." not in self._text:
            return self._advance()
        return self._value()

    def _value(self) -> Any:
        value = self._operand()
        while self._text == "+":
            self._take("+")
            value += self._operand()
        return value

    def _operand(self) -> Any:
        kind, text = self._kind, self._text
        if text == "{":
            return self.literal()
        self._advance()
        if kind == "type":
            return self.literal()
        if kind == "raw":
            return text[1:-1]
        if kind == "text":
            return json.loads(text)
        if kind == "number":
            return int(text)
        if text == "fmt.Sprintf":
            return self._sprintf()
        if text in self._known:
            return self._known[text]
        raise self._wrong(text)

    def _sprintf(self) -> str:
        self._take("(")
        arguments = [self._value()]
        while self._text == ",":
            self._take(",")
            arguments.append(self._value())
        self._take(")")
        formatted: str = arguments[0] % tuple(arguments[1:])
        return formatted

    def _take(self, sign: str, *, is_last: bool = False) -> None:
        if self._text != sign:
            raise self._wrong(self._text)
        if not is_last or self._source[self._at :].strip():
            self._next()

    def _advance(self) -> str:
        text = self._text
        self._next()
        return text

    def _next(self) -> None:
        while True:
            token = _TOKEN.match(self._source, self._at)
            if token is None:  # behind what is read: Go that is no literal
                self._kind = self._text = ""
                return
            self._at = token.end()
            if token.lastgroup != "blank":
                self._kind, self._text = str(token.lastgroup), token[0]
                return

    def _wrong(self, text: str) -> GoError:
        line = self._source.count("\n", 0, self._at) + 1
        return GoError(f'line {line}: "{text}" is none of what a case is written in')
