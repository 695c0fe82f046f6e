"""What a backend's response means: which statuses succeed, what becomes of the others. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TypeAlias

from msgspec import Raw

from ..config.structs import Backend
from ..core.asgi import find_header
from ..core.proxy import COMPLETE, INCOMPLETE, Response
from ..encoding import encode_json, reason_of
from ..encoding.manipulation import Reading
from ..errors import BackendFailure, BackendStatusError
from .connection import HttpResponse
from .settings import HttpSettings
from .stream import BROKEN_OFF, GZIP, gzip_failure
from .targets import hide_query, shown_pattern

SUCCESS = (200, 201)

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Headers of one connection, not of the message (RFC 9110, 7.6.1). The length is written anew."""

MAX_ERROR_BYTES = 512 * 1024
"""Bytes of the body of a failure that become a string: at most 15 ms. Measured, in ns a byte at
worst: 5 to decode what is not UTF-8, 11 to encode it as JSON."""

_WHITESPACE = b" \t\r\n"

Interpret: TypeAlias = Callable[[HttpResponse, str], Response]
"""A backend's response and its URL, without credentials -> a part of the endpoint's response.

Raises :class:`BackendFailure`.
"""


def build_interpret(
    backend: Backend,
    settings: HttpSettings,
    is_passed_on: bool,
    takes_any_success: bool,
    read: Reading,
) -> Interpret:
    """``is_passed_on``: the output is no-op; status, headers and body go to the client unchanged.
    ``takes_any_success``: any 2xx is a success, whatever its body is (agents). ``read``: decodes
    the body of a success."""
    interpret = _build_interpret(backend, settings, is_passed_on, read)
    if not takes_any_success:
        return interpret

    def interpret_for_agent(response: HttpResponse, url: str) -> Response:
        if not 200 <= response.status < 300:
            text = f"invalid status code {response.status}: {hide_query(url)}"
            raise BackendFailure(text, response.status)
        try:
            return interpret(response, url)
        except BackendFailure:
            return Response()

    return interpret_for_agent


def _build_interpret(
    backend: Backend, settings: HttpSettings, is_passed_on: bool, read: Reading
) -> Interpret:
    if is_passed_on:
        return _pass_on
    if backend.encoding == "no-op":
        return _leave_out
    reject = _build_reject(backend, settings)
    may_be_blank = backend.encoding == "string"

    def interpret(response: HttpResponse, url: str) -> Response:
        if response.status not in SUCCESS:
            return reject(response, url)
        if may_be_blank:
            if not response.is_whole:
                raise BackendFailure(BROKEN_OFF)
        elif not response.body.strip(_WHITESPACE):
            raise BackendFailure("EOF" if response.is_whole else BROKEN_OFF)
        try:
            data = read(response.body)
        except Exception as error:  # any error of a decoder: the body cannot be decoded
            raise BackendFailure(reason_of(error) if response.is_whole else BROKEN_OFF) from error
        return Response(data, INCOMPLETE if data is None else COMPLETE)

    return interpret


def _pass_on(response: HttpResponse, url: str) -> Response:
    if not response.is_whole:
        raise BackendFailure(BROKEN_OFF)
    headers = [header for header in response.headers if header[0] not in HOP_BY_HOP]
    part = Response({}, body=response.body, headers=headers, status=response.status)
    if response.stream is not None:
        part.stream = response.stream
        if not find_header(response.headers, b"transfer-encoding"):
            response.stream.length = find_header(response.headers, b"content-length")
    return part


def _leave_out(response: HttpResponse, url: str) -> Response:
    """``no-op`` in an endpoint with another output: a success without data."""
    return Response({}, body=response.body)


def _build_reject(backend: Backend, settings: HttpSettings) -> Interpret:
    prefix = f"[{backend.method.upper()} {shown_pattern(backend.url_pattern)}]"
    if settings.return_error_details:
        return _build_detail(f"error_{settings.return_error_details}")
    if settings.return_error_code and settings.return_error_details is None:
        return _pass_status

    def reject(response: HttpResponse, url: str) -> Response:
        text = f"invalid status code {response.status} {prefix}: {hide_query(url)}"
        raise BackendFailure(text, response.status)

    return reject


def _build_detail(key: str) -> Interpret:
    def detail(response: HttpResponse, url: str) -> Response:
        fields = {
            "http_status_code": response.status,
            "http_body": _error_text(response),
            "http_body_encoding": _content_type(response),
        }
        text = encode_json({name: each for name, each in fields.items() if each})
        return Response({key: Raw(text)}, INCOMPLETE)

    return detail


def _pass_status(response: HttpResponse, url: str) -> Response:
    raise BackendStatusError(response.status, _error_text(response), _content_type(response))


def _error_text(response: HttpResponse) -> str:
    """The first MAX_ERROR_BYTES of the body."""
    return response.body[:MAX_ERROR_BYTES].decode(errors="replace")


def _content_type(response: HttpResponse) -> str:
    return find_header(response.headers, b"content-type").decode("latin-1")


def unpack(packed: bytes, limit: int) -> tuple[bytes, bool]:
    """Unpack gzip: at most ``limit`` + 1 bytes, and whether the packed data was complete.

    Raises :class:`BackendFailure`.
    """
    unpacking = zlib.decompressobj(GZIP)
    try:
        return unpacking.decompress(packed, limit + 1), unpacking.eof
    except zlib.error as error:
        raise BackendFailure(gzip_failure(error)) from error


def unpacked(response: HttpResponse, body: bytes, is_whole: bool, limit: int) -> HttpResponse:
    """The response with its unpacked body. Raises :class:`BackendFailure`."""
    if len(body) > limit:
        raise BackendFailure(f"the response has more than {limit} bytes")
    headers = [header for header in response.headers if header[0] != b"content-encoding"]
    return response._replace(headers=headers, body=body, is_whole=response.is_whole and is_whole)
