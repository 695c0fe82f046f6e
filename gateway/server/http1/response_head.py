"""Status line, headers and chunks of a response as bytes. Pure."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

from ...core.asgi import Headers


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return b"HTTP/1.1 %d %b\r\n" % (status, phrase.encode())


STATUS_LINES = {status: _status_line(status) for status in range(100, 1000)}
"""Some backends respond with statuses that HTTP does not define."""


class EncodedHeaders(NamedTuple):
    """Headers as lines.

    ``closes``: they say that the connection is closed after the response. ``has_length``: they
    say the length of the body.
    """

    lines: bytes
    closes: bool
    has_length: bool


def encode_headers(headers: Headers) -> EncodedHeaders:
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if not (lines.count(b"\n") == lines.count(b"\r") == len(headers)):
        raise RuntimeError("a header with a line break")
    searched = b"\n" + lines
    return EncodedHeaders(
        lines,
        searched.find(b"\nconnection: close\r\n") >= 0,
        searched.find(b"\ncontent-length: ") >= 0,
    )


encode_constant_headers = lru_cache(256)(encode_headers)


def encode_chunk(body: bytes, more_body: bool) -> bytes:
    """A piece of a chunked body (RFC 9112, 7.1); the last one also ends the body."""
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return chunk if more_body else chunk + b"0\r\n\r\n"
