"""Responses and failures as HTTP: status, headers and body. Pure.

What depends on the configuration is decided once for an endpoint.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from msgspec import Raw
from msgspec.json import decode as decode_json

from ..config.structs import Endpoint, RouterSettings
from ..core.asgi import NO_LENGTH, STATUSES, AsgiResponse, Headers
from ..core.large import KIB
from ..core.proxy import SHOWN_AS_COMPLETE, HeaderGuard, Request, Response
from ..encoding import Document, encode_json, encode_xml, encode_yaml
from ..errors import AmqpFailure, GatewayError, QueueEmpty, Refused

Encode: TypeAlias = Callable[[Document | None], bytes]
Renderer: TypeAlias = Callable[[Response, Request], AsgiResponse]
"""Only ``negotiate`` reads the request."""
ErrorRenderer: TypeAlias = Callable[[GatewayError], AsgiResponse]

JSON = b"application/json; charset=utf-8"
TEXT = b"text/plain; charset=utf-8"
XML = b"application/xml"
YAML = b"application/yaml; charset=utf-8"
OWN = frozenset(
    (
        b"connection",
        b"content-length",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-krakend",
        b"x-krakend-completed",
    )
)
"""Headers that only the gateway itself sets."""

_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def encode_object(data: Document | None) -> bytes:
    return encode_json(data)


def encode_collection(data: Document | None) -> bytes:
    """The value of ``collection``, or an empty list."""
    return encode_json((data or {}).get("collection", []))


def encode_text(data: Document | None) -> bytes:
    """The string under ``content``; empty if it is no string."""
    content = (data or {}).get("content", "")
    if isinstance(content, Raw) and bytes(memoryview(content)[:1]) == b'"':
        content = decode_json(content)
    return content.encode() if isinstance(content, str) else b""


class OutputEncoding(NamedTuple):
    """How the document of a response becomes bytes.

    ``max_inline_bytes``: the largest document, in bytes of JSON, that is encoded on the event loop.
    A helper process encodes larger ones (:mod:`.large_output`).
    """

    content_type: bytes
    encode: Encode
    max_inline_bytes: int = sys.maxsize


ENCODERS: dict[str, OutputEncoding] = {
    "json": OutputEncoding(JSON, encode_object),
    "json-collection": OutputEncoding(JSON, encode_collection),
    "string": OutputEncoding(TEXT, encode_text, max_inline_bytes=4 * KIB * KIB),
    "xml": OutputEncoding(XML, encode_xml, max_inline_bytes=16 * KIB),
    "yaml": OutputEncoding(YAML, encode_yaml, max_inline_bytes=8 * KIB),
}
"""The output encodings of endpoints; an unknown one means "json", as in KrakenD. Encoding up to
``max_inline_bytes`` takes 20 ms at most. Measured at worst: 640 ns a byte for XML, 1,900 ns for
YAML, 2.5 ns for a text. Large JSON is only copied."""

OUTPUT_ENCODINGS = (*ENCODERS, "negotiate", "no-op")

OFFERED: tuple[tuple[bytes, str], ...] = (
    (b"application/json", "json"),
    (b"text/plain", "yaml"),
    (b"application/xml", "xml"),
    (b"application/x-yaml", "yaml"),
)
"""The types that ``negotiate`` offers, in KrakenD's order, and their output encodings."""


def build_render(
    endpoint: Endpoint, version: tuple[bytes, bytes], *, is_bare: bool = False
) -> Renderer:
    """How a response of this endpoint is sent. ``is_bare``: as JSON, without the gateway's own
    headers, whatever the output encoding is.
    """
    if is_bare:
        return _render_bare
    if endpoint.output_encoding == "no-op":
        return _build_pass_through(endpoint.cache_ttl, version)
    if endpoint.output_encoding == "negotiate":
        return _build_negotiated(endpoint, version)
    return _build_encoded(endpoint.output_encoding, endpoint.cache_ttl, version)


def _render_bare(response: Response, request: Request) -> AsgiResponse:
    return _fitting(response.status, ((b"content-type", JSON),), encode_json(response.data))


def _build_encoded(encoding: str, cache_ttl: float, version: tuple[bytes, bytes]) -> Renderer:
    content_type, encode, _ = ENCODERS.get(encoding, ENCODERS["json"])
    common = ((b"content-type", content_type), version)
    partial: Headers = (*common, (b"x-krakend-completed", b"false"))
    published: Headers = (*common, (b"x-krakend-completed", b"true"))
    complete = published
    if cache_ttl:
        complete = (*published, (b"cache-control", b"public, max-age=%d" % cache_ttl))
    nothing = AsgiResponse(200, published, encode({}))

    def render(response: Response, request: Request) -> AsgiResponse:
        data = response.data
        is_complete = response.completeness in SHOWN_AS_COMPLETE
        if data is None and is_complete and response.status == 200 and not response.headers:
            return nothing
        if not is_complete:
            headers = partial
        elif data:
            headers = complete
        elif data is None:
            headers, data = published, {}
        else:
            headers = partial
        try:
            body = encode(data) if response.encoded is None else response.encoded
        except RecursionError as error:
            raise GatewayError("the response is nested too deeply") from error
        if response.headers:
            headers = _joined(headers, response.headers)
        if response.status == 200:
            return AsgiResponse(200, headers, body)
        return _fitting(response.status, headers, body)

    return render


def _build_negotiated(endpoint: Endpoint, version: tuple[bytes, bytes]) -> Renderer:
    renders = {
        name: _build_encoded(name, endpoint.cache_ttl, version) for name in ("json", "xml", "yaml")
    }

    def render(response: Response, request: Request) -> AsgiResponse:
        return renders[negotiate(request.header(b"accept") or b"")](response, request)

    return render


def negotiate(accept: bytes) -> str:
    """The output encoding for an ``Accept``: the first type in it that is offered, else "json".

    As in KrakenD (gin, NegotiateFormat) weights have no effect, the beginning of an offered type is
    enough, and the characters after a "*" are ignored.
    """
    for part in accept.split(b","):
        wanted, star, _ = part.split(b";")[0].strip().partition(b"*")
        if not wanted and not star:
            continue
        for offered, name in OFFERED:
            if offered.startswith(wanted):
                return name
    return "json"


def _build_pass_through(cache_ttl: float, version: tuple[bytes, bytes]) -> Renderer:
    common = [version, (b"x-krakend-completed", b"false")]
    complete = [version, (b"x-krakend-completed", b"true")]
    cached = (b"cache-control", b"public, max-age=%d" % cache_ttl) if cache_ttl else None

    def render(response: Response, request: Request) -> AsgiResponse:
        body = response.body or b""
        # Data counts although it is not sent, as in KrakenD: proxy.static adds some.
        is_complete = response.data and response.is_complete
        headers = [*(complete if is_complete else common), *_passed(response.headers)]
        has_own = any(name == b"cache-control" for name, _ in response.headers)
        if is_complete and cached and response.status in (200, 201) and not has_own:
            headers.append(cached)
        if response.status == 204:  # it may have a content type all the same
            return AsgiResponse(204, headers)
        return _fitting(response.status, headers, body)

    return render


def with_headers_of(guards: Sequence[HeaderGuard], render: Renderer) -> Renderer:
    """``render`` with the headers that the guards add."""

    def added(response: Response, request: Request) -> AsgiResponse:
        status, headers, body = render(response, request)
        for guard in guards:
            headers = _joined(headers, guard.headers(request))
        return AsgiResponse(status, headers, body)

    return added


def _passed(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Headers that a backend or a script chose, without those that would break the response."""
    return [
        header for header in headers if header[0] not in OWN and not _CONTROLS.search(header[1])
    ]


def _joined(headers: Headers, added: Headers) -> Headers:
    """Added headers replace headers of the same name."""
    added = _passed(added)
    names = {name for name, _ in added}
    return [*(header for header in headers if header[0] not in names), *added]


def _fitting(status: int, headers: Headers, body: bytes) -> AsgiResponse:
    """The response, without what its status may not have (RFC 9110, 15.3.5 and 15.4.5)."""
    if status not in STATUSES:  # a script may set any number
        raise GatewayError(f"{status} is no status of a response")
    if status not in NO_LENGTH:
        return AsgiResponse(status, headers, body)
    return AsgiResponse(status, [header for header in headers if header[0] != b"content-type"])


def build_render_error(
    router: RouterSettings, version: tuple[bytes, bytes], krakend_statuses: bool
) -> ErrorRenderer:
    """A function that makes the response of a failure: its status, and its text if configured."""
    common = [version, (b"x-krakend-completed", b"false")]

    def render_error(error: GatewayError) -> AsgiResponse:
        if isinstance(error, Refused):
            return AsgiResponse(error.status, error.headers)
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
        elif router.return_error_msg or error.is_shown:
            body = str(error).encode(errors="replace")
            if body:
                headers.append((b"content-type", _content_type(error)))
        return _fitting(status, headers, body)

    return render_error


def _content_type(error: GatewayError) -> bytes:
    """The text of a backend keeps the content type of the backend."""
    content_type = error.content_type.encode("latin-1", errors="replace")
    return content_type if content_type and not _CONTROLS.search(content_type) else TEXT
