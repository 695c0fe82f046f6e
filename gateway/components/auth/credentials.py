"""Finds the token of a request, without parsing it. Pure.

Headers and cookies are read as in Go (net/http): the first one of a name is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from ...core.proxy import Request

FindToken: TypeAlias = Callable[[Request], bytes | None]

BEARER = b"bearer "

_COOKIE_VALUE = re.compile(rb"[\x20-\x21\x23-\x3a\x3c-\x5b\x5d-\x7e]*")


def build_find_token(header: str, cookie: str) -> FindToken:
    """A token from the header, with or without "Bearer"; without the header from the cookie."""
    header_name = header.lower().encode() or b"authorization"
    cookie_name = cookie.encode() or b"access_token"

    def find_token(request: Request) -> bytes | None:
        value = request.header(header_name)
        if value and value[:7].lower() == BEARER:
            value = value[7:]
        return value or find_cookie(request, cookie_name)

    return find_token


def find_cookie(request: Request, name: bytes) -> bytes | None:
    """The value of the first valid cookie of that name (net/http, readCookies)."""
    for header, line in request.headers:
        if header != b"cookie" or name not in line:
            continue
        for part in line.split(b";"):
            key, equals, value = part.strip(b" \t").partition(b"=")
            if key != name or not equals:
                continue
            if len(value) > 1 and value[:1] == b'"' == value[-1:]:
                value = value[1:-1]
            if _COOKIE_VALUE.fullmatch(value):
                return value
    return None
