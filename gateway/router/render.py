"""Responses and failures as status, headers and body. Pure.

Everything that depends on the configuration is decided once per endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec import Raw
from msgspec.json import decode as decode_json

from ..asgi import Answer, Headers
from ..config.structs import Endpoint, RouterSettings
from ..encoding import encode_json
from ..errors import AmqpFailure, BackendStatus, GatewayError, QueueEmpty, Refused
from ..proxy import Response

Document: TypeAlias = dict[str, Any] | None
Encode: TypeAlias = Callable[[Document], bytes]
Render: TypeAlias = Callable[[Response], Answer]
RenderError: TypeAlias = Callable[[GatewayError], Answer]

JSON = b"application/json; charset=utf-8"
TEXT = b"text/plain; charset=utf-8"
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def encode_object(data: Document) -> bytes:
    return encode_json(data)


def encode_collection(data: Document) -> bytes:
    """What stands under ``collection``, or an empty list."""
    return encode_json((data or {}).get("collection", []))


def encode_text(data: Document) -> bytes:
    """The text under ``content``; nothing when it is no text."""
    content = (data or {}).get("content", "")
    if isinstance(content, Raw) and bytes(memoryview(content)[:1]) == b'"':
        content = decode_json(content)
    return content.encode() if isinstance(content, str) else b""


ENCODERS: dict[str, tuple[bytes, Encode]] = {
    "json": (JSON, encode_object),
    "json-collection": (JSON, encode_collection),
    "string": (TEXT, encode_text),
    "negotiate": (JSON, encode_object),
}
"""Output encodings and their content types; an unknown one means "json", as in KrakenD."""


def build_render(endpoint: Endpoint, version: tuple[bytes, bytes]) -> Render:
    """How a response of this endpoint is answered."""
    if endpoint.output_encoding == "no-op":
        return _build_pass_through(version)
    content_type, encode = ENCODERS.get(endpoint.output_encoding, ENCODERS["json"])
    common = [(b"content-type", content_type), version]
    partial: Headers = [*common, (b"x-krakend-completed", b"false")]
    published: Headers = [*common, (b"x-krakend-completed", b"true")]
    complete = list(published)
    if endpoint.cache_ttl:
        complete.append((b"cache-control", b"public, max-age=%d" % endpoint.cache_ttl))

    empty = encode({})
    nothing = Answer(200, [*published, (b"content-length", b"%d" % len(empty))], empty)

    def render(response: Response) -> Answer:
        data = response.data
        if data is None and response.is_complete and response.status == 200:
            return nothing
        if not response.is_complete:
            headers = partial
        elif data:
            headers = complete
        elif data is None:
            headers, data = published, {}
        else:
            headers = partial
        body = encode(data)
        length = (b"content-length", b"%d" % len(body))
        if response.status == 200:
            return Answer(200, [*headers, length], body)
        return _fitting(response.status, [*headers, length], body)

    return render


def _build_pass_through(version: tuple[bytes, bytes]) -> Render:
    common = [version, (b"x-krakend-completed", b"false")]

    def render(response: Response) -> Answer:
        body = response.body or b""
        # Whoever wrote the message chose these values: none may break the head of the answer.
        passed = [header for header in response.headers if not _CONTROLS.search(header[1])]
        length = (b"content-length", b"%d" % len(body))
        return _fitting(response.status, [*common, *passed, length], body)

    return render


def _fitting(status: int, headers: Headers, body: bytes) -> Answer:
    """The answer, without what its status has no place for (RFC 9110, 15.3.5 and 15.4.5)."""
    if status not in (204, 304):
        return Answer(status, headers, body)
    left_out = (b"content-length", b"content-type")
    return Answer(status, [header for header in headers if header[0] not in left_out])


def build_render_error(
    router: RouterSettings, version: tuple[bytes, bytes], krakend_statuses: bool
) -> RenderError:
    """How a failure is answered: its status, and its text where the configuration wants it."""
    common = [version, (b"x-krakend-completed", b"false")]

    def render_error(error: GatewayError) -> Answer:
        if isinstance(error, Refused):
            return Answer(error.status, [*error.headers, (b"content-length", b"0")])
        status = error.status
        headers = list(common)
        body = b""
        if isinstance(error, AmqpFailure):
            if krakend_statuses:
                status = 500
            elif error.retry_after is not None:
                headers.append((b"retry-after", b"%d" % error.retry_after))
        if isinstance(error, QueueEmpty) and status < 300:
            headers.append((b"content-type", JSON))
            body = b"{}"
        elif router.return_error_msg or error.is_told:
            headers.append((b"content-type", _content_type(error)))
            body = str(error).encode(errors="replace")
        headers.append((b"content-length", b"%d" % len(body)))
        return _fitting(status, headers, body)

    return render_error


def _content_type(error: GatewayError) -> bytes:
    """A backend's text is told under the type that the backend gave it."""
    if isinstance(error, BackendStatus):
        told = error.content_type.encode("latin-1")
        if told and not _CONTROLS.search(told):
            return told
    return TEXT
