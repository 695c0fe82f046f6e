"""Large responses are encoded in a helper process, if their output encoding is slow."""

from __future__ import annotations

import sys

from msgspec.structs import replace

from ..config.structs import Endpoint
from ..core.helpers import Helpers
from ..core.large import size_of
from ..core.pipe import coroutine_of
from ..core.proxy import Pipe, Request, Response
from ..encoding import decode_json, encode_json
from .render import ENCODERS, negotiate

MAX_INLINE_BYTES = {
    name: each.max_inline_bytes
    for name, each in ENCODERS.items()
    if each.max_inline_bytes < sys.maxsize
}
"""The output encodings of :data:`.render.ENCODERS` for which helper processes are needed."""


def with_large_output(pipe: Pipe, endpoint: Endpoint, helpers: Helpers) -> Pipe:
    """The pipe; its large responses are already encoded, if that is slow."""
    output = endpoint.output_encoding
    if output not in MAX_INLINE_BYTES and output != "negotiate":
        return pipe
    inner = coroutine_of(pipe)
    least = MAX_INLINE_BYTES.get(output, min(MAX_INLINE_BYTES.values()))

    async def ask(request: Request) -> Response:
        response = await inner(request)
        if size_of(response.data) <= least:
            return response
        name = output
        if output == "negotiate":
            name = negotiate(request.header(b"accept") or b"")
        if name in MAX_INLINE_BYTES:
            try:
                response.encoded = await helpers.run(encode_as, name, encode_json(response.data))
            except Exception:
                response.park()
                raise
        return response

    return replace(pipe, ask=ask, now=None, later=None)


def encode_as(name: str, body: bytes) -> bytes:
    """In a helper: a JSON object in another output encoding."""
    return ENCODERS[name].encode(decode_json(body))
