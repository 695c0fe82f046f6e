"""The settings of ``modifier/lua-*``: the code they name, compiled; and what is wrong with it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from ...config.files import cannot_read
from ...config.structs import Own
from ...telemetry.logs import get_logger
from .messages import MESSAGES
from .sandbox import (
    MAX_FAILURE_TEXT,
    NOTHING,
    Chunk,
    Function,
    Returned,
    Sandbox,
    ScriptFailure,
    Session,
)
from .values import VALUES, decoded

log = get_logger("gateway.lua")

PRE, POST, SOURCES = "pre-script", "post-script", "sources"

_REQUESTS = re.compile(r"\bhttp_response\s*\.\s*new\b")


def to_log(session: Session, _: None, arguments: tuple[Any, ...]) -> Returned:
    """What scripts print."""
    log.info("%s", decoded(arguments[0])[:MAX_FAILURE_TEXT])
    return NOTHING


FUNCTIONS: Mapping[bytes, Function] = {**VALUES, **MESSAGES, b"print": to_log}


class LuaSettings(Struct, frozen=True, kw_only=True):
    """``sources``: files that are run before; ``live``: read anew for each request. ``md5``: of the
    files. ``max_instructions`` (ours): of one script, before it is ended."""

    pre: str = ""
    post: str = ""
    sources: tuple[str, ...] = ()
    md5: dict[str, str] = {}
    live: bool = False
    allow_open_libs: bool = False
    skip_next: bool = False
    max_instructions: Own[int] = 1_000_000


def verify_lua(settings: LuaSettings) -> Iterator[tuple[str, str]]:
    """Files that cannot be read or are others, syntax errors, what no script can do here."""
    texts = list(_named(settings))
    for place, name in enumerate(settings.sources):
        try:
            texts.append((f"sources[{place}]", _read(name)))
        except ValueError as error:
            if not settings.live:
                yield f"sources[{place}]", str(error)
    yield from () if settings.live else _wrong_sums(settings)
    try:
        sandbox = _sandbox(settings)
    except ImportError:
        yield "", 'needs the library lupa: pip install "hutch-gateway[lua]"'
        return
    for key, code in texts:
        if _REQUESTS.search(code):
            yield key, "http_response is not here: scripts cannot make requests"
        try:
            sandbox.compile(code, key)
        except ValueError as error:
            yield key, str(error)


def _named(settings: LuaSettings) -> Iterator[tuple[str, str]]:
    yield "pre", settings.pre
    yield "post", settings.post


def _wrong_sums(settings: LuaSettings) -> Iterator[tuple[str, str]]:
    for name, expected in settings.md5.items():
        try:
            found = _md5(_read(name)) if name in settings.sources else None
        except ValueError:
            continue
        if found is None:
            yield f'md5["{name}"]', "is none of the sources"
        elif found != expected.lower():
            yield f'md5["{name}"]', f"expected {expected}, the file has {found}"


def _md5(code: str) -> str:
    encoded = code.encode(errors="surrogateescape")
    return hashlib.md5(encoded, usedforsecurity=False).hexdigest()


def _read(name: str) -> str:
    """Raises ValueError."""
    try:
        return Path(name).read_text(errors="surrogateescape")
    except OSError as error:
        raise ValueError(cannot_read(name, error)) from error


def names_body(settings: LuaSettings) -> bool:
    """Whether a script may look at a request's body."""
    if settings.live:
        return True
    return any("body" in code for code in (settings.pre, *map(_read, settings.sources)))


def _sandbox(settings: LuaSettings) -> Sandbox:
    return Sandbox(
        FUNCTIONS,
        opens_libs=settings.allow_open_libs,
        max_instructions=settings.max_instructions,
    )


class Scripts:
    """The code of one place in the configuration. Raises :class:`ScriptFailure` while it runs.

    ``runs_before``: before the answer; ``has_post``: behind it.
    """

    def __init__(self, settings: LuaSettings) -> None:
        self.sandbox = _sandbox(settings)
        self.runs_before = bool(settings.pre or settings.sources)
        self._pre = self._compiled(settings.pre, PRE)
        self._post = self._compiled(settings.post, POST)
        self.has_post = self._post is not None
        self._names = settings.sources
        self._is_live = settings.live
        self._text = ""
        self._sources: Chunk | None = None
        if settings.sources and not settings.live:
            self._sources = self._compiled(_joined(settings.sources), SOURCES)

    def begin(self, name: str, subject: object) -> Session:
        """Run what comes before: the sources, then ``pre``. ``name``: by which scripts load the
        subject."""
        session = Session(self.sandbox)
        session.bind(name, subject)
        for chunk in (self._live() if self._is_live else self._sources, self._pre):
            if chunk is not None:
                session.run(chunk)
        return session

    def end(self, session: Session, response: object) -> None:
        """Run ``post``."""
        if self._post is not None:
            session.bind("response", response)
            session.run(self._post)

    def _compiled(self, code: str, name: str) -> Chunk | None:
        return self.sandbox.compile(code, name) if code else None

    def _live(self) -> Chunk | None:
        """The sources as they are now; compiled when they have changed."""
        try:
            code = _joined(self._names)
            if code != self._text:
                self._sources, self._text = self._compiled(code, SOURCES), code
        except ValueError as error:
            raise ScriptFailure(str(error)) from error
        return self._sources


def _joined(names: tuple[str, ...]) -> str:
    """One script: a local variable of one file is there in the next, as in KrakenD."""
    return "\n".join(map(_read, names))
