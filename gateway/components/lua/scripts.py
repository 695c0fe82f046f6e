"""The settings of ``modifier/lua-*``, their checks, and their compiled scripts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from ...config.files import cannot_read
from ...config.structs import Own
from ...telemetry.logs import get_logger
from .messages import MESSAGES
from .sandbox import (
    MAX_MESSAGE_CHARACTERS,
    NOTHING,
    Arguments,
    Chunk,
    Function,
    Returned,
    Sandbox,
    ScriptFailure,
    Session,
)
from .values import VALUES, text_argument

log = get_logger("gateway.lua")

PRE, POST, SOURCES = "pre-script", "post-script", "sources"

_HTTP_REQUEST = re.compile(r"\bhttp_response\s*\.\s*new\b")


def log_print(session: Session, _: None, arguments: Arguments) -> Returned:
    """``print`` of scripts."""
    log.info("%s", text_argument(arguments[0])[:MAX_MESSAGE_CHARACTERS])
    return NOTHING


FUNCTIONS: Mapping[bytes, Function] = {**VALUES, **MESSAGES, b"print": log_print}


class LuaSettings(Struct, frozen=True, kw_only=True):
    """``modifier/lua-proxy``, ``-backend`` and ``-endpoint``."""

    pre: str = ""
    """Lua code that runs before the request is sent on."""
    post: str = ""
    """Lua code that runs after the response has arrived. Not in `modifier/lua-endpoint`."""
    sources: tuple[str, ...] = ()
    """Paths of Lua files. They run before `pre`, as one script."""
    md5: dict[str, str] = {}
    """MD5 sums of `sources`, by path. A file with another sum stops the start. Not checked with
    `live`."""
    live: bool = False
    """Read `sources` for each request."""
    allow_open_libs: bool = False
    """Scripts may use `string`, `math`, and the date and time functions of `os`."""
    skip_next: bool = False
    """Do not call the backends: the response is the one that `post` makes. Not in
    `modifier/lua-endpoint`."""
    max_instructions: Own[int] = 1_000_000
    """Instructions of one script; then it is stopped, and its request fails with 500."""


def verify_lua(settings: LuaSettings) -> Iterator[tuple[str, str]]:
    """Files that cannot be read or have another sum, syntax errors, calls of missing functions."""
    texts = list(_named(settings))
    for index, name in enumerate(settings.sources):
        try:
            texts.append((f"sources[{index}]", _read(name)))
        except ValueError as error:
            if not settings.live:
                yield f"sources[{index}]", str(error)
    yield from () if settings.live else _wrong_sums(settings)
    try:
        sandbox = _sandbox(settings)
    except ImportError:
        yield "", 'needs the library lupa: pip install "hutch-gateway[lua]"'
        return
    for key, code in texts:
        if _HTTP_REQUEST.search(code):
            yield (
                key,
                "http_response is not implemented: gateway/python can make requests",
            )
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
            yield f'md5["{name}"]', "is not one of the sources"
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
    """Whether a script may use the body of a request."""
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
    """The scripts of one place in the configuration. They raise :class:`ScriptFailure`.

    ``runs_before``: there are scripts before the request is sent on; ``has_post``: after it.
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
        """Run the sources, then ``pre``. ``name``: in scripts ``name.load()`` is the subject."""
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
        """The sources as they are now; compiled again if they have changed."""
        try:
            code = _joined(self._names)
            if code != self._text:
                self._sources, self._text = self._compiled(code, SOURCES), code
        except ValueError as error:
            raise ScriptFailure(str(error)) from error
        return self._sources


def _joined(names: tuple[str, ...]) -> str:
    """One script: the next file has the local variables of the files before it, as in KrakenD."""
    return "\n".join(map(_read, names))
