"""A Lua runtime in which scripts can do nothing but compute, within bounds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ...errors import GatewayError
from ...telemetry.logs import get_logger
from .digits import JOINT, with_joints
from .prelude import PRELUDE

log = get_logger("gateway.lua")

MAX_MEMORY = 64 * 1024 * 1024
"""Bytes of one runtime: the scripts of one place in the configuration, for all its requests."""
SOFT_MEMORY = 48 * 1024 * 1024
"""Beyond it nothing crosses between Python and Lua: what crosses needs room on the other side."""
LARGE = 64 * 1024
"""Bytes of a text that is asked for room of its own."""
MAX_TEXT_BYTES = 4 * 1024 * 1024
"""Bytes of a text that a script gets: 10 ms at most. Measured at worst: 2 ns a byte."""
MAX_DOCUMENTS = 64 * 1024 * 1024
"""Bytes that one session may add to documents, which Lua does not count."""
MAX_FAILURE_TEXT = 4096
"""Characters of a failure's text."""
MAX_SECONDS = 0.25
"""Of processor time, for a run whose instructions are few and slow."""

Returned: TypeAlias = tuple[bytes, Any]
"""A kind and a number for what stands for an object, or b"" and a plain value: None, a truth, a
number, bytes."""
Function: TypeAlias = Callable[["Session", Any, tuple[Any, ...]], Returned]
"""A method of an object of Python, called by a script. Raises :class:`ScriptError`."""

NOTHING: Returned = (b"", None)
_PLACE = re.compile(r"([^:\n]+):(\d+): (.*)", re.DOTALL)


class ScriptError(ValueError):
    """A script has called something wrongly; it may catch that."""


class ScriptFailure(GatewayError):
    """A script has ended a request: ``custom_error``, an error, a bound.

    ``status``: of ``custom_error``, else 500. ``content_type``: of its text; "": none was given.
    """

    def __init__(self, text: str, status: int = 500, content_type: str = "") -> None:
        super().__init__(text)
        self.status = status if status in range(200, 600) else 500
        self.content_type = content_type


class Chunk:
    """Compiled code."""

    __slots__ = ("function",)

    def __init__(self, function: Any) -> None:
        self.function = function


class Sandbox:
    """``opens_libs``: string, math and the clock, too. ``max_instructions``: of one run.
    ``functions``: what scripts may call, by names such as ``b"luaTable.get"``.
    """

    def __init__(
        self, functions: Mapping[bytes, Function], *, opens_libs: bool, max_instructions: int
    ) -> None:
        from lupa.lua51 import LuaError, LuaRuntime  # type: ignore[import-untyped]

        self.lua_error: type[Exception] = LuaError
        self._functions = functions
        self._runtime = LuaRuntime(
            encoding=None,
            source_encoding="utf-8",
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_deny,
            max_memory=MAX_MEMORY,
        )
        self._compile, self.new_session, self.bind, self.run = self._runtime.execute(
            PRELUDE, self._invoke, SOFT_MEMORY, opens_libs, max_instructions, MAX_SECONDS, JOINT
        )
        self.session: Session | None = None

    def compile(self, code: str, name: str) -> Chunk:
        """Raises ValueError with what is wrong, and where."""
        encoded = code.encode(errors="surrogateescape")
        if encoded.startswith(b"\x1b"):
            raise ValueError(f"{name}: compiled code is not run")
        found = self._compile(with_joints(encoded), name.encode())
        if isinstance(found, tuple):
            raise ValueError(_told(found[1]))
        return Chunk(found)

    def has_room(self, size: int) -> bool:
        """For so many bytes; what is left over from earlier scripts is thrown away for it."""
        if self._runtime.get_memory_used() + size <= SOFT_MEMORY:
            return True
        self._runtime.gccollect()
        return bool(self._runtime.get_memory_used() + size <= SOFT_MEMORY)

    def _check_room(self, size: int) -> None:
        """Raises :class:`ScriptError` for a text that is too large for a script."""
        if size > MAX_TEXT_BYTES:
            raise ScriptError(f"a text of more than {MAX_TEXT_BYTES} bytes")
        if not self.has_room(size):
            raise ScriptError("not enough memory")

    def _invoke(self, name: bytes, number: int, count: int = 0, *arguments: Any) -> Returned:
        """What a script calls. Never raises: an exception would be an object of Python there."""
        session = self.session
        try:
            if session is None:
                raise ScriptError("the script has ended")
            subject = session.objects[number] if number else None
            kind, value = self._functions[name](session, subject, arguments[:count])
            if isinstance(value, bytes) and len(value) > LARGE:
                self._check_room(len(value))
        except ScriptError as error:
            return b"error", str(error).encode(errors="replace")
        except Exception:
            log.exception("%s, called by a script", name.decode())
            return b"error", b"internal error"
        return kind, value


class Session:
    """The scripts of one request: what one leaves in a global variable, the next finds."""

    def __init__(self, sandbox: Sandbox) -> None:
        if not sandbox.has_room(0):
            raise ScriptFailure("not enough memory")
        self._sandbox = sandbox
        self._environment: Any = self._entered(sandbox.new_session)
        self.objects: list[Any] = [None]
        """By their numbers, from 1."""
        self._room = MAX_DOCUMENTS

    def spend(self, size: int) -> None:
        """So many bytes become part of a document. Raises :class:`ScriptError`."""
        self._room -= size
        if self._room < 0:
            raise ScriptError("not enough memory")

    def number(self, subject: object) -> int:
        """Under which a script knows an object."""
        self.objects.append(subject)
        return len(self.objects) - 1

    def bind(self, name: str, subject: object) -> None:
        """``name.load()`` is the object from now on."""
        encoded = name.encode()
        number = self.number(subject)
        self._entered(self._sandbox.bind, self._environment, encoded, encoded, number)

    def run(self, chunk: Chunk) -> None:
        """Raises :class:`ScriptFailure`."""
        if not self._sandbox.has_room(0):
            raise ScriptFailure("not enough memory")
        self._sandbox.session = self
        try:
            result = self._entered(self._sandbox.run, self._environment, chunk.function)
        finally:
            self._sandbox.session = None
        if result is not True:
            _, text, *custom = result
            raise _failure(text, *custom)

    def _entered(self, function: Any, *arguments: object) -> Any:
        try:
            return function(*arguments)
        except self._sandbox.lua_error as error:
            raise ScriptFailure(str(error)) from error


def _failure(text: bytes, code: float | None = None, kind: bytes | None = None) -> ScriptFailure:
    status = int(code) if code is not None and 0 <= code < 1000 else 500
    return ScriptFailure(_told(text), status, (kind or b"").decode("latin-1"))


def _told(text: bytes) -> str:
    """``name:12: text`` as KrakenD tells it; where the prelude stands is nobody's concern."""
    decoded = text.decode(errors="replace")[:MAX_FAILURE_TEXT]
    if match := _PLACE.fullmatch(decoded):
        return match[3] if match[1].startswith("[") else f"{match[3]} ({match[1]}:L{match[2]})"
    return decoded


def _deny(subject: object, name: object, is_setting: bool) -> str:
    raise AttributeError("no attribute of Python's is reached from a script")
