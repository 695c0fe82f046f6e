"""Splits a Go template (text/template) into plain text and actions ("{{ ... }}"). Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

OPEN, CLOSE = "{{", "}}"

_COMMENT = re.compile(r"\{\{(?:-\s)?\s*/\*.*?\*/(?:\s+(?P<right>-))?\s*\}\}", re.DOTALL)
_START = re.compile(r"\{\{(-(?=\s))?")
_END = re.compile(r"(\s+-)?\}\}")
_TOKEN = re.compile(
    r"""(?P<blank>\s+)
    | (?P<string>"(?:[^"\\\n]|\\.)*" | `[^`]*`)
    | (?P<char>'(?:[^'\\\n]|\\.)')
    | (?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)(?![\w.]))
    | (?P<field>\.\w+)
    | (?P<dot>\.)
    | (?P<variable>\$\w*)
    | (?P<declare>:=)
    | (?P<assign>=)
    | (?P<mark>[|(),])
    | (?P<word>[A-Za-z_]\w*)
    """,
    re.VERBOSE,
)


class TemplateProblem(ValueError):
    """A problem in a template. ``line``: in its file. None: only the caller knows the line."""

    def __init__(self, text: str, line: int | None = None) -> None:
        super().__init__(text)
        self.line = line


class LexToken(NamedTuple):
    """``kind``: a group of the pattern above. ``is_apart``: there is a blank before it."""

    kind: str
    text: str
    line: int
    is_apart: bool = True


class Piece(NamedTuple):
    """Plain text (``tokens`` is None), or an action."""

    line: int
    text: str
    tokens: list[LexToken] | None = None


def pieces(source: str) -> Iterator[Piece]:
    """The pieces in their order, without the blanks that "-" trims. Raises TemplateProblem."""
    at = 0
    trims = False
    while True:
        start = source.find(OPEN, at)
        end = len(source) if start < 0 else start
        text = source[at:end].lstrip() if trims else source[at:end]
        opening = _START.match(source, start) if start >= 0 else None
        if opening is not None and opening[1]:
            text = text.rstrip()
        if text:
            yield Piece(_line(source, at), text)
        if opening is None:
            return
        comment = _COMMENT.match(source, start)
        if comment is not None:
            at, trims = comment.end(), comment["right"] is not None
            continue
        tokens, at, trims = _action(source, opening.end())
        yield Piece(_line(source, start), source[start:at], tokens)


def _action(source: str, at: int) -> tuple[list[LexToken], int, bool]:
    """The tokens of an action, the position after it, and whether it trims the text after it."""
    tokens: list[LexToken] = []
    is_apart = True
    while (end := _END.match(source, at)) is None:
        found = _TOKEN.match(source, at)
        line = _line(source, at)
        if found is None or found.lastgroup is None:
            rest = source[at : at + 20].partition("\n")[0]
            problem = f"not understood: {rest!r}" if rest else "the action does not end"
            raise TemplateProblem(problem, line)
        at = found.end()
        if found.lastgroup != "blank":
            tokens.append(LexToken(found.lastgroup, found[0], line, is_apart))
        is_apart = found.lastgroup == "blank"
    return tokens, end.end(), end[1] is not None


def literal(token: LexToken) -> str | int | float:
    """The value of a string, a character or a number."""
    text = token.text
    try:
        if token.kind == "number":
            is_whole = re.fullmatch(r"[+-]?(0[xX][0-9a-fA-F]+|\d+)", text)
            return int(text, 16 if "x" in text.lower() else 10) if is_whole else float(text)
        if text.startswith("`"):
            return text[1:-1]
        value: str = json.loads('"' + text[1:-1].replace("\\'", "'") + '"', strict=False)
    except ValueError as error:
        raise TemplateProblem(f"not understood: {text}", token.line) from error
    return ord(value) if token.kind == "char" else value


def _line(source: str, at: int) -> int:
    return source.count("\n", 0, at) + 1
