"""A Lua runtime whose scripts can only compute, within bounds.

The one module that knows lupa. The library has no types: those of the values that cross between Lua
and Python are here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol, TypeAlias, TypeGuard, TypeVar, TypeVarTuple

from ...errors import GatewayError
from ...telemetry.logs import get_logger
from .digits import JOINT, with_joints
from .prelude import PRELUDE

log = get_logger("gateway.lua")

MAX_RUNTIME_BYTES = 64 * 1024 * 1024
"""Memory of one runtime, which has the scripts of one place in the configuration."""
SOFT_RUNTIME_BYTES = 48 * 1024 * 1024
"""Above it no value crosses between Python and Lua: a value needs memory on the other side, and an
allocation that fails there would end the process."""
LARGE_STRING_BYTES = 64 * 1024
"""Strings of this size are checked against the free memory before they become Lua's."""
MAX_STRING_BYTES = 4 * 1024 * 1024
"""Bytes of a string that a script gets: 10 ms at most. Measured at worst: 2 ns a byte."""
MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
"""Bytes that one session may add to documents, which Lua does not count."""
MAX_MESSAGE_CHARACTERS = 4096
"""Characters of an error message."""
MAX_CPU_SECONDS = 0.25
"""Processor time of one script: a few instructions can take long, too."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ScriptTable(Protocol):
    """A table of a script, as Python gets it."""

    def __getitem__(self, key: Literal[True], /) -> int | None:
        """The number of the Python object that the table is a handle of; None: it is no handle."""
        ...

    def items(self) -> Iterable[tuple[bytes | float, object]]: ...


def is_table(value: object) -> TypeGuard[ScriptTable]:
    return hasattr(value, "items")


Arguments: TypeAlias = tuple[object, ...]
"""What a script passes: None, bool, int, float, bytes, a :class:`ScriptTable`, or anything else."""
Returned: TypeAlias = tuple[bytes, object]
"""The kind and the number of an object of Python, or b"" and a plain value: None, bool, float or
bytes."""
Function: TypeAlias = Callable[["Session", Any, Arguments], Returned]
"""A method of an object of Python, called by a script; the Lua side has checked the kind of the
object. Raises :class:`ScriptError`."""
RunResult: TypeAlias = Literal[True] | tuple[Literal[False], bytes, float | None, bytes | None]
"""Of a failure: its message, and of ``custom_error`` the status and the content type."""

NOTHING: Returned = (b"", None)
_PLACE = re.compile(r"([^:\n]+):(\d+): (.*)", re.DOTALL)


class ScriptError(ValueError):
    """A script has called a function with wrong arguments. The script may catch it with pcall."""


class ScriptFailure(GatewayError):
    """A script has ended its request by ``custom_error``, by an error, or because of a bound.

    ``status``: of ``custom_error``, else 500. ``content_type``: of the message, "" without one.
    """

    def __init__(self, text: str, status: int = 500, content_type: str = "") -> None:
        super().__init__(text)
        self.status = status if status in range(200, 600) else 500
        self.content_type = content_type


class Chunk:
    """A compiled script."""

    __slots__ = ("function",)

    def __init__(self, function: object) -> None:
        self.function = function


class Sandbox:
    """``opens_libs``: scripts have string, math and the clock, too. ``max_instructions``: of one
    script. ``functions``: what scripts may call, by names such as ``b"luaTable.get"``.
    """

    _compile: Callable[[bytes, bytes], object]
    new_session: Callable[[], object]
    bind: Callable[[object, bytes, bytes, int], object]
    run: Callable[[object, object], RunResult]

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
            max_memory=MAX_RUNTIME_BYTES,
        )
        self._compile, self.new_session, self.bind, self.run = self._runtime.execute(
            PRELUDE,
            self._invoke,
            SOFT_RUNTIME_BYTES,
            opens_libs,
            max_instructions,
            MAX_CPU_SECONDS,
            JOINT,
        )
        self.session: Session | None = None

    def compile(self, code: str, name: str) -> Chunk:
        """Raises ValueError with the error and its line."""
        encoded = code.encode(errors="surrogateescape")
        if encoded.startswith(b"\x1b"):
            raise ValueError(f"{name}: bytecode is not accepted")
        compiled = self._compile(with_joints(encoded), name.encode())
        if isinstance(compiled, tuple):  # nil, and the error
            raise ValueError(_shown(compiled[1]))
        return Chunk(compiled)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes are free, if need be after a garbage collection."""
        if self._runtime.get_memory_used() + size <= SOFT_RUNTIME_BYTES:
            return True
        self._runtime.gccollect()
        return bool(self._runtime.get_memory_used() + size <= SOFT_RUNTIME_BYTES)

    def _check_room(self, size: int) -> None:
        """Raises :class:`ScriptError` for a string that is too large for a script."""
        if size > MAX_STRING_BYTES:
            raise ScriptError(f"a string of more than {MAX_STRING_BYTES} bytes")
        if not self.has_room(size):
            raise ScriptError("not enough memory")

    def _invoke(self, name: bytes, number: int, count: int = 0, *arguments: object) -> Returned:
        """Called by scripts. Never raises: a script could reach Python through an exception."""
        session = self.session
        try:
            if session is None:
                raise ScriptError("the script has ended")
            subject = session.objects[number] if number else None
            kind, value = self._functions[name](session, subject, arguments[:count])
            if isinstance(value, bytes) and len(value) > LARGE_STRING_BYTES:
                self._check_room(len(value))
        except ScriptError as error:
            return b"error", str(error).encode(errors="replace")
        except Exception:
            log.exception("error in %s, which a script called", name.decode())
            return b"error", b"internal error"
        return kind, value


class Session:
    """The scripts of one request. They share their global variables."""

    def __init__(self, sandbox: Sandbox) -> None:
        if not sandbox.has_room(0):
            raise ScriptFailure("not enough memory")
        self._sandbox = sandbox
        self._environment = self._call(sandbox.new_session)
        self.objects: list[object] = [None]
        """The objects of Python that scripts have handles of, by their numbers from 1."""
        self._room = MAX_DOCUMENT_BYTES

    def spend(self, size: int) -> None:
        """Count bytes that are added to documents. Raises :class:`ScriptError` above the bound."""
        self._room -= size
        if self._room < 0:
            raise ScriptError("not enough memory")

    def number(self, subject: object) -> int:
        """Register an object; its handle in Lua has this number."""
        self.objects.append(subject)
        return len(self.objects) - 1

    def bind(self, name: str, subject: object) -> None:
        """In scripts ``name.load()`` returns the object from now on."""
        encoded = name.encode()
        number = self.number(subject)
        self._call(self._sandbox.bind, self._environment, encoded, encoded, number)

    def run(self, chunk: Chunk) -> None:
        """Raises :class:`ScriptFailure`."""
        if not self._sandbox.has_room(0):
            raise ScriptFailure("not enough memory")
        self._sandbox.session = self
        try:
            result = self._call(self._sandbox.run, self._environment, chunk.function)
        finally:
            self._sandbox.session = None
        if result is not True:
            raise _failure(*result[1:])

    def _call(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        try:
            return function(*arguments)
        except self._sandbox.lua_error as error:
            raise ScriptFailure(str(error)) from error


def _failure(message: bytes, code: float | None, content_type: bytes | None) -> ScriptFailure:
    status = int(code) if code is not None and 0 <= code < 1000 else 500
    return ScriptFailure(_shown(message), status, (content_type or b"").decode("latin-1"))


def _shown(message: bytes) -> str:
    """``name:12: text`` in KrakenD's format; a line of the prelude is not shown."""
    text = message.decode(errors="replace")[:MAX_MESSAGE_CHARACTERS]
    if match := _PLACE.fullmatch(text):
        return match[3] if match[1].startswith("[") else f"{match[3]} ({match[1]}:L{match[2]})"
    return text


def _deny(subject: object, name: object, is_setting: bool) -> str:
    raise AttributeError("scripts cannot read attributes of Python objects")
