"""Why JSON is refused, in the words of Go's decoder, which clients of KrakenD know. Pure.

For failures only: it slowly reads again what the decoder has refused. (Go, encoding/json)
"""

from __future__ import annotations

import re

MAX_EXPLAINED = 16 * 1024
"""Bytes: 10 ms at most. The error message of longer JSON is that of the decoder."""

_BLANKS = re.compile(rb"[ \t\r\n]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_DIGITS = re.compile(rb"\d*")
_HEX = b"0123456789abcdefABCDEF"
_LITERALS = {b"t": b"true", b"f": b"false", b"n": b"null"}
_KINDS = {b"{": "object", b"[": "array", b'"': "string", b"t": "bool", b"f": "bool", b"n": "null"}
_ENDS = {b"{": b"}", b"[": b"]"}
_TAKEN = {"map[string]interface {}": "object", "[]interface {}": "array"}
_SHORT = {7: r"\a", 8: r"\b", 9: r"\t", 10: r"\n", 11: r"\v", 12: r"\f", 13: r"\r"}


class _SyntaxProblem(Exception):
    """Its text is Go's error message."""


def explain(body: bytes, wanted: str) -> str:
    """Why Go refuses the first value of ``body``; empty when Go accepts it.

    ``wanted``: the Go type that the value is decoded into; empty for any.
    """
    if len(body) > MAX_EXPLAINED:
        return ""
    begin = _BLANKS.match(body).end()  # type: ignore[union-attr]
    if begin == len(body):
        return "EOF"
    try:
        _ErrorFinder(body, begin).read()
    except IndexError:
        return "unexpected EOF"
    except _SyntaxProblem as error:
        return str(error)
    kind = _KINDS.get(body[begin : begin + 1], "number")
    if kind == _TAKEN.get(wanted, kind):
        return ""
    return f"json: cannot unmarshal {kind} into Go value of type {wanted}"


class _ErrorFinder:
    """Reads one value. Raises IndexError when the body ends within the value."""

    def __init__(self, body: bytes, at: int) -> None:
        self._body = body
        self._at = at
        self._open: list[bytes] = []
        self._is_first = False

    def read(self) -> None:
        self._begin(self._next())
        while self._open:
            inside, char = self._open[-1], self._next()
            if char == _ENDS[inside]:
                self._open.pop()
                self._is_first = False
                continue
            if self._is_first:
                self._is_first = False
            elif char == b",":
                char = self._next()
            else:
                is_object = inside == b"{"
                raise self._wrong(
                    "after object key:value pair" if is_object else "after array element"
                )
            if inside == b"{":
                self._key(char)
                char = self._next()
            self._begin(char)

    def _begin(self, char: bytes) -> None:
        """Read a value that begins with ``char``; of an object or an array only its beginning."""
        if char in _ENDS:
            self._open.append(char)
            self._is_first = True
        elif char == b'"':
            self._string()
        elif char == b"-" or char.isdigit():
            self._number(char)
        elif char in _LITERALS:
            self._literal(_LITERALS[char])
        else:
            raise self._wrong("looking for beginning of value")

    def _key(self, char: bytes) -> None:
        if char != b'"':
            raise self._wrong("looking for beginning of object key string")
        self._string()
        if self._next() != b":":
            raise self._wrong("after object key")

    def _string(self) -> None:
        while True:
            self._at = _PLAIN.match(self._body, self._at).end()  # type: ignore[union-attr]
            char = self._take()
            if char == b'"':
                return
            if char != b"\\":
                raise self._wrong("in string literal")
            escaped = self._take()
            if escaped == b"u":
                for _ in range(4):
                    if self._take() not in _HEX:
                        raise self._wrong(r"in \u hexadecimal character escape")
            elif escaped not in b'"\\/bfnrt':
                raise self._wrong("in string escape code")

    def _number(self, char: bytes) -> None:
        if char == b"-":
            char = self._digit("in numeric literal")
        if char != b"0":
            self._digits()
        if self._body[self._at : self._at + 1] == b".":
            self._at += 1
            self._digit("after decimal point in numeric literal")
            self._digits()
        if self._body[self._at : self._at + 1] in (b"e", b"E"):
            self._at += 1
            if self._body[self._at : self._at + 1] in (b"+", b"-"):
                self._at += 1
            self._digit("in exponent of numeric literal")
            self._digits()

    def _literal(self, word: bytes) -> None:
        for expected in word[1:].decode():
            if self._take() != expected.encode():
                raise self._wrong(f"in literal {word.decode()} (expecting '{expected}')")

    def _digit(self, where: str) -> bytes:
        char = self._take()
        if not char.isdigit():
            raise self._wrong(where)
        return char

    def _digits(self) -> None:
        self._at = _DIGITS.match(self._body, self._at).end()  # type: ignore[union-attr]

    def _next(self) -> bytes:
        """The next character that is not a blank."""
        self._at = _BLANKS.match(self._body, self._at).end()  # type: ignore[union-attr]
        return self._take()

    def _take(self) -> bytes:
        char = self._body[self._at].to_bytes(1, "big")
        self._at += 1
        return char

    def _wrong(self, where: str) -> _SyntaxProblem:
        return _SyntaxProblem(f"invalid character {_quoted(self._body[self._at - 1])} {where}")


def _quoted(byte: int) -> str:
    """A byte as Go prints it: as the character of that number."""
    if byte == 0x27:
        return r"'\''"
    if byte == 0x5C:
        return r"'\\'"
    if byte in _SHORT:
        return f"'{_SHORT[byte]}'"
    char = chr(byte)
    if char.isprintable():
        return f"'{char}'"
    return f"'\\x{byte:02x}'" if byte < 0x80 else f"'\\u{byte:04x}'"
