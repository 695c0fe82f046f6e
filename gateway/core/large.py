"""Large bodies of messages and responses: which ones are large, and how a helper process reads
them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from msgspec import Raw
from msgspec.structs import replace

from ..config.proxy import NAMESPACE, FlatmapOperation, proxy_settings
from ..config.structs import Backend
from ..encoding import DecodeError, Document, Value, decode_json, encode_json
from ..encoding.flatmap import build_flatmap
from ..encoding.manipulation import build_manipulation, build_reading
from .component import Assembly
from .helpers import Helped

KIB = 1024
MAX_INLINE_BYTES = {"json": 256 * KIB, "safejson": 256 * KIB, "xml": 32 * KIB, "rss": 6 * KIB}
"""Bytes that are decoded on the event loop, by encoding; 20 ms at most. Measured at worst: JSON
48 ns a byte (keys), XML 440 ns (elements), RSS 2,600 ns (items)."""
MAX_INLINE_TEXT = 1024 * KIB
"""The same for plain text: 13 ns a byte if it is not UTF-8."""
MAX_INLINE_MANIPULATED = 32 * KIB
"""The same if keys are filtered, moved or renamed."""
MAX_INLINE_DECODED = 4 * 1024 * KIB
MAX_INLINE_VALUES = 40_000
"""Bytes of JSON, and values in it, that are decoded for a script or a hook on the event loop; 20 ms
at most. Values are counted by commas and opening brackets. Measured at worst: 2 ns a byte
(escapes), 500 ns a value (lists in lists, keys)."""
MIN_VALUE_BYTES = 2
"""Bytes of the smallest value in a list; a header field counts as one."""
MAX_KEYS = 20_000
"""Keys at the first level of a large document: more than these take over 10 ms."""

Pieces: TypeAlias = list[tuple[str, bytes]] | None
"""A document as pairs of key and JSON: quick to receive from a helper."""


def most_at_once(backend: Backend, assembly: Assembly) -> int:
    """The largest body of a backend that is read on the event loop, in bytes."""
    most = MAX_INLINE_TEXT
    if backend.encoding not in ("string", "no-op"):
        most = MAX_INLINE_BYTES.get(backend.encoding, MAX_INLINE_BYTES["json"])
    if build_manipulation(backend) is not None:
        most = min(most, MAX_INLINE_MANIPULATED)
    return min(most, assembly.max_inline_bytes(backend))


def size_of(data: Mapping[str, Value] | None) -> int:
    """Bytes of undecoded JSON in a document. Decoded values do not count: they were small."""
    return sum([len(memoryview(value)) for value in (data or {}).values() if type(value) is Raw])


def check_decoded(data: Document | None) -> None:
    """Raise DecodeError if a document is too large to be decoded on the event loop."""
    size = size_of(data)
    if size <= MAX_INLINE_VALUES:
        return
    if size <= MAX_INLINE_DECODED:
        text = encode_json(data)
        if len(text) - len(text.translate(None, b",[{")) <= MAX_INLINE_VALUES:
            return
    raise DecodeError(
        f"a document is too large for a script or a hook: more than {MAX_INLINE_DECODED} bytes or "
        f"{MAX_INLINE_VALUES} values"
    )


def build_pieces(backend: Backend) -> Callable[[bytes], Pieces]:
    """In a helper: as :func:`gateway.encoding.manipulation.build_reading`."""
    read = build_reading(backend)
    return lambda body: pieces(read(body))


def build_flatmap_pieces(operations: tuple[FlatmapOperation, ...]) -> Callable[[bytes], Pieces]:
    """In a helper: as :func:`gateway.encoding.flatmap.build_flatmap`, from JSON text."""
    flatmap = build_flatmap(operations)
    assert flatmap is not None
    return lambda body: pieces(flatmap(decode_json(body) or {}))


def pieces(document: Document | None) -> Pieces:
    """In a helper: the document in the form that is sent to the gateway."""
    if document is None:
        return None
    if len(document) > MAX_KEYS:
        raise DecodeError(f"a large document has more than {MAX_KEYS} keys at its first level")
    return [(key, encode_json(value)) for key, value in document.items()]


class LargeReading:
    """Reads bodies of more than ``most`` bytes for one backend."""

    def __init__(self, backend: Backend, assembly: Assembly) -> None:
        self.most = most_at_once(backend, assembly)
        settings = {NAMESPACE: proxy_settings(backend)}
        bare = replace(backend, host=(), extra_config=settings)
        self._read = Helped(assembly.helpers, build_pieces, bare)

    async def read(self, body: bytes) -> Document | None:
        """Raises :class:`gateway.errors.HelperFailure`."""
        return whole(await self._read.run(body))

    def start(
        self, body: bytes, arrive: Callable[[Document | Exception | None], object]
    ) -> Callable[[], None]:
        """As :meth:`read` without waiting: ``arrive`` gets the document or the failure. Returns a
        function that cancels it."""

        def arrived(result: Pieces | Exception) -> None:
            arrive(result if isinstance(result, Exception) else whole(result))

        return self._read.start(arrived, body)


def whole(pieces: Pieces) -> Document | None:
    """The document, from the form in which a helper has sent it."""
    return None if pieces is None else {key: Raw(text) for key, text in pieces}
