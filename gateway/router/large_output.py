"""Large answers in XML and YAML are written in a helper process. JSON of any size is copied."""

from __future__ import annotations

from ..config.structs import Endpoint
from ..core.helpers import Helpers
from ..core.large import size_of
from ..core.pipe import coroutine_of
from ..core.proxy import Branch, Request, Response
from ..encoding import decode_json, encode_json
from .render import ENCODERS, negotiate

MOST_AT_ONCE = 16 * 1024
"""Bytes of JSON that are written on the event loop as something else: 20 ms at most. Measured at
worst: 640 ns a byte for XML, 960 ns for YAML."""
SLOW = frozenset({"xml", "yaml"})
"""Output encodings that look into all of a document."""


def with_large_output(pipe: Branch, endpoint: Endpoint, helpers: Helpers) -> Branch:
    """The pipe, whose large answers are already encoded where that is slow."""
    output = endpoint.output_encoding
    if output not in SLOW and output != "negotiate":
        return pipe
    inner = coroutine_of(pipe)

    async def ask(request: Request) -> Response:
        response = await inner(request)
        if size_of(response.data) <= MOST_AT_ONCE:
            return response
        name = output if output in SLOW else negotiate(request.header(b"accept") or b"")
        if name in SLOW:
            try:
                response.encoded = await helpers.run(encode_as, name, encode_json(response.data))
            except Exception:
                response.set_aside()
                raise
        return response

    return pipe._replace(ask=ask, now=None, later=None)


def encode_as(name: str, body: bytes) -> bytes:
    """In a helper: a JSON object in another output encoding."""
    return ENCODERS[name][1](decode_json(body))
