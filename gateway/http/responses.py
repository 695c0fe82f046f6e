"""What a backend's answer means: which status succeeds, what becomes of the others. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TypeAlias

from msgspec import Raw

from ..config.structs import Backend
from ..core.proxy import COMPLETE, INCOMPLETE, Response
from ..encoding import encode_json, reason_of
from ..encoding.manipulation import Reading
from ..errors import BackendFailure, BackendStatusError
from .connection import Headers, HttpResponse
from .settings import HttpSettings
from .stream import BROKEN_OFF, gzip_failure
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
"""Of one connection, not of the message (RFC 9110, 7.6.1); the length is told anew."""

MAX_ERROR_BYTES = 512 * 1024
"""Bytes of the body of a failure that become text: 15 ms at most. Measured at worst, in ns a byte:
5 to decode what is not UTF-8, 11 to encode it as JSON."""

_BLANKS = b" \t\r\n"
_GZIP = 16 + zlib.MAX_WBITS

Interpret: TypeAlias = Callable[[HttpResponse, str], Response]
"""An answer and the URL it came from, without credentials -> the part of the endpoint's answer.

Raises :class:`BackendFailure`.
"""


def build_interpret(
    backend: Backend,
    settings: HttpSettings,
    is_passed_on: bool,
    takes_any_success: bool,
    read: Reading,
) -> Interpret:
    """``is_passed_on``: the output is no-op: status, headers and body go to the client as they are.
    ``takes_any_success``: any 2xx is one, whatever its body (agents). ``read``: the body of a
    success."""
    interpret = _build_interpret(backend, settings, is_passed_on, read)
    if not takes_any_success:
        return interpret

    def interpret_for_agent(answer: HttpResponse, url: str) -> Response:
        if not 200 <= answer.status < 300:
            text = f"invalid status code {answer.status}: {hide_query(url)}"
            raise BackendFailure(text, answer.status)
        try:
            return interpret(answer, url)
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

    def interpret(answer: HttpResponse, url: str) -> Response:
        if answer.status not in SUCCESS:
            return reject(answer, url)
        if may_be_blank:
            if not answer.is_whole:
                raise BackendFailure(BROKEN_OFF)
        elif not answer.body.strip(_BLANKS):
            raise BackendFailure("EOF" if answer.is_whole else BROKEN_OFF)
        try:
            data = read(answer.body)
        except Exception as error:  # whatever a decoder raises, the answer is undecodable
            raise BackendFailure(reason_of(error) if answer.is_whole else BROKEN_OFF) from error
        return Response(data, INCOMPLETE if data is None else COMPLETE)

    return interpret


def _pass_on(answer: HttpResponse, url: str) -> Response:
    if not answer.is_whole:
        raise BackendFailure(BROKEN_OFF)
    headers = [header for header in answer.headers if header[0] not in HOP_BY_HOP]
    response = Response({}, body=answer.body, headers=headers, status=answer.status)
    if answer.stream is not None:
        response.stream = answer.stream
        if not find(answer.headers, b"transfer-encoding"):
            answer.stream.length = find(answer.headers, b"content-length")
    return response


def _leave_out(answer: HttpResponse, url: str) -> Response:
    """``no-op`` in an endpoint with another output: it contributes nothing, and succeeds."""
    return Response({}, body=answer.body)


def _build_reject(backend: Backend, settings: HttpSettings) -> Interpret:
    prefix = f"[{backend.method.upper()} {shown_pattern(backend.url_pattern)}]"
    if settings.return_error_details:
        return _build_detail(f"error_{settings.return_error_details}")
    if settings.return_error_code and settings.return_error_details is None:
        return _pass_status

    def reject(answer: HttpResponse, url: str) -> Response:
        text = f"invalid status code {answer.status} {prefix}: {hide_query(url)}"
        raise BackendFailure(text, answer.status)

    return reject


def _build_detail(key: str) -> Interpret:
    def detail(answer: HttpResponse, url: str) -> Response:
        fields = {
            "http_status_code": answer.status,
            "http_body": _error_text(answer),
            "http_body_encoding": _content_type(answer),
        }
        text = encode_json({name: each for name, each in fields.items() if each})
        return Response({key: Raw(text)}, INCOMPLETE)

    return detail


def _pass_status(answer: HttpResponse, url: str) -> Response:
    raise BackendStatusError(answer.status, _error_text(answer), _content_type(answer))


def _error_text(answer: HttpResponse) -> str:
    """The beginning of its body, as far as the bound."""
    return answer.body[:MAX_ERROR_BYTES].decode(errors="replace")


def _content_type(answer: HttpResponse) -> str:
    return find(answer.headers, b"content-type").decode("latin-1")


def find(headers: Headers, name: bytes) -> bytes:
    """The first value of that name, in lower case; b"" when there is none."""
    for each, value in headers:
        if each == name:
            return value
    return b""


def unpack(packed: bytes, limit: int) -> tuple[bytes, bool]:
    """What was gzipped, as far as ``limit`` bytes and one more; and whether it was whole.

    Raises :class:`BackendFailure`.
    """
    unpacking = zlib.decompressobj(_GZIP)
    try:
        return unpacking.decompress(packed, limit + 1), unpacking.eof
    except zlib.error as error:
        raise BackendFailure(gzip_failure(error)) from error


def unpacked(answer: HttpResponse, body: bytes, is_whole: bool, limit: int) -> HttpResponse:
    """A gzipped answer as it was before. Raises :class:`BackendFailure`."""
    if len(body) > limit:
        raise BackendFailure(f"the answer has more than {limit} bytes")
    headers = [header for header in answer.headers if header[0] != b"content-encoding"]
    return answer._replace(headers=headers, body=body, is_whole=answer.is_whole and is_whole)
