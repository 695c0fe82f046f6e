"""Where tokens stand in requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.auth.credentials import build_find_token, find_cookie
from gateway.core.proxy import Request

Headers = list[tuple[bytes, bytes]]


def request(headers: Headers) -> Request:
    return Request("GET", "/", {}, headers)


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([], None),
        ([(b"authorization", b"Bearer t")], b"t"),
        ([(b"authorization", b"bEARER t")], b"t"),
        ([(b"authorization", b"t")], b"t"),
        ([(b"authorization", b"Bearer")], b"Bearer"),
        ([(b"authorization", b""), (b"cookie", b"access_token=c")], b"c"),
        ([(b"cookie", b"a=b; access_token=c")], b"c"),
        ([(b"authorization", b"t"), (b"cookie", b"access_token=c")], b"t"),
        ([(b"authorization", b"t"), (b"authorization", b"u")], b"t"),
    ],
)
def test_the_header_comes_before_the_cookie(headers: Headers, token: bytes | None) -> None:
    assert build_find_token("Authorization", "access_token")(request(headers)) == token


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"c=v", b"v"),
        (b" c=v ;d=e", b"v"),
        (b'c="v w"', b"v w"),
        (b"xc=v", None),
        (b"c", None),
        (b"c=", b""),
        (b"c=v=w", b"v=w"),
        (b"c=\xff; c=v", b"v"),
        (b'c="; c=w', b"w"),
        (b"C=v", None),
    ],
)
def test_cookies_are_read_as_go_reads_them(line: bytes, value: bytes | None) -> None:
    assert find_cookie(request([(b"cookie", line)]), b"c") == value


def test_every_cookie_header_is_read() -> None:
    assert find_cookie(request([(b"cookie", b"a=b"), (b"cookie", b"c=d")]), b"c") == b"d"


@given(st.binary(), st.binary())
def test_no_header_raises(header: bytes, cookie: bytes) -> None:
    headers = [(b"authorization", header), (b"cookie", b"access_token" + cookie)]
    build_find_token("", "")(request(headers))
