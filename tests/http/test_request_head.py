"""Heads of requests, and where redirects lead."""

from __future__ import annotations

import pytest

from gateway.errors import BackendFailure
from gateway.http.connection import HttpResponse
from gateway.http.request_head import BackendRequest, redirected, write_head
from gateway.http.targets import parse_host

HOST = parse_host("https://api.example.com")
SECRET = [(b"authorization", b"x"), (b"cookie", b"c"), (b"x-a", b"1")]


def outgoing(method: str = "GET", body: bytes = b"", headers: object = ()) -> BackendRequest:
    return BackendRequest(method, HOST, "/a/b?c", list(headers), body)  # type: ignore[call-overload]


def follow(
    location: bytes, status: int = 302, request: BackendRequest | None = None, resends: bool = False
) -> BackendRequest | None:
    answer = HttpResponse(status, [(b"location", location)], b"")
    return redirected(request or outgoing(), answer, resends)


def followed(
    location: bytes, status: int = 302, request: BackendRequest | None = None
) -> BackendRequest:
    found = follow(location, status, request)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("method", "body", "lines"),
    [
        ("GET", b"", []),
        ("GET", b"abc", [b"Content-Length: 3"]),
        ("POST", b"", [b"Content-Length: 0"]),
        ("DELETE", b"", []),
    ],
)
def test_a_length_is_sent_where_it_has_a_meaning(
    method: str, body: bytes, lines: list[bytes]
) -> None:
    head = write_head(outgoing(method, body), b"\r\n\r\n")
    first = [b"%s /a/b?c HTTP/1.1" % method.encode(), b"Host: api.example.com"]
    assert head.split(b"\r\n")[:-2] == first + lines


@pytest.mark.parametrize("value", [b"a\r\nEvil: 1", b"a\nb", b"a\rb", b"a\x00b"])
def test_a_header_that_would_be_two_is_refused(value: bytes) -> None:
    with pytest.raises(BackendFailure):
        write_head(outgoing(headers=[(b"x-a", value)]), b"\r\n\r\n")


def test_headers_of_the_clients_connection_are_left_out() -> None:
    names = (b"te", b"upgrade", b"transfer-encoding", b"content-length", b"expect", b"host")
    headers = [(name, b"1") for name in names]
    headers += [(b"connection", b"close"), (b"x-b3-id", b"1")]
    head = write_head(outgoing(headers=headers), b"\r\n\r\n")
    assert head.split(b"\r\n")[2:-2] == [b"X-B3-Id: 1"]


@pytest.mark.parametrize(
    ("location", "url"),
    [
        (b"/x", "https://api.example.com/x"),
        (b"x?y=1", "https://api.example.com/a/x?y=1"),
        (b"?z", "https://api.example.com/a/b?z"),
        (b"//other.example:8080", "https://other.example:8080/"),
        (b"http://other.example/\xc3\xa4 b", "http://other.example/%C3%A4%20b"),
        (b"/\xe4?\xc3\xa4", "https://api.example.com/%E4?%C3%A4"),
        (b"/x#fragment", "https://api.example.com/x"),
    ],
)
def test_locations(location: bytes, url: str) -> None:
    assert followed(location).url == url


@pytest.mark.parametrize("location", [b"ftp://x/", b"javascript:alert(1)", b"http://:80/"])
def test_a_location_that_is_not_of_http_is_refused(location: bytes) -> None:
    with pytest.raises(BackendFailure, match="redirect of"):
        follow(location)


def test_without_a_location_there_is_nothing_to_follow() -> None:
    assert follow(b"") is None


def test_a_post_becomes_a_get_without_a_body() -> None:
    request = outgoing("POST", b"body", [(b"content-type", b"a/b"), (b"x-a", b"1")])
    found = followed(b"/x", 303, request)
    assert (found.method, found.body) == ("GET", b"")
    assert [name for name, _ in found.headers] == [b"x-a"]
    found = followed(b"/x", 302, request._replace(method="GET"))
    assert [name for name, _ in found.headers] == [b"x-a"]


def test_a_body_is_sent_again_only_when_the_configuration_says_so() -> None:
    request = outgoing("POST", b"body")
    assert follow(b"/x", 307, request) is None
    found = follow(b"/x", 308, request, resends=True)
    assert found is not None
    assert (found.method, found.body) == ("POST", b"body")


def test_credentials_stay_with_their_host() -> None:
    request = outgoing(headers=SECRET)
    for location, names in (
        (b"/x", [b"authorization", b"cookie", b"x-a"]),
        (b"https://deep.api.example.com/", [b"authorization", b"cookie", b"x-a"]),
        (b"https://other.example/", [b"x-a"]),
        (b"https://notapi.example.com/", [b"x-a"]),
    ):
        found = followed(location, request=request)
        assert [name for name, _ in found.headers] == names


def test_the_referer_is_sent_but_not_from_https_to_http() -> None:
    found = followed(b"/x")
    assert found.referer == "https://api.example.com/a/b?c"
    assert b"\r\nReferer: https://api.example.com/a/b?c\r\n" in write_head(found, b"\r\n\r\n")
    assert followed(b"http://api.example.com/").referer == ""


def test_each_hop_has_the_one_before_as_referer_unless_the_client_sent_one() -> None:
    assert followed(b"/z", request=followed(b"/y")).referer == "https://api.example.com/y"
    told = [(b"referer", b"http://r/")]
    found = followed(b"/z", request=followed(b"/y", request=outgoing(headers=told)))
    assert (found.headers, found.referer) == (told, "")
