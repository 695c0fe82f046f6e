"""modifier/martian: each modifier on requests and responses, without sockets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.martian.filters import match_host
from gateway.components.martian.messages import MartianRequest, MartianResponse
from gateway.components.martian.parse import parse
from gateway.components.martian.stage import TABLE
from gateway.errors import BackendFailure, GatewayError
from gateway.http.connection import HttpResponse
from gateway.http.request_head import BackendRequest, write_head
from gateway.http.targets import parse_host

HEADERS = [(b"x-one", b"1"), (b"x-two", b"a"), (b"x-two", b"b"), (b"cookie", b'c=v; d="w"')]


def outgoing(target: str = "/p/q?b=2&a=1", host: str = "http://host.test:8080") -> BackendRequest:
    return BackendRequest("POST", parse_host(host), target, list(HEADERS), b"body")


def modified_request(
    document: dict[str, Any], request: BackendRequest | None = None
) -> BackendRequest:
    """The request after the modifiers."""
    changed = MartianRequest(request or outgoing())
    modify = parse(document, "", TABLE).on_request
    assert modify is not None
    modify(changed)
    return changed.to_backend_request()


RESPONSE = HttpResponse(200, [(b"x-one", b"1"), (b"set-cookie", b"c=v; Path=/")], b"body")


def modified_response(
    document: dict[str, Any],
    response: HttpResponse = RESPONSE,
    request: BackendRequest | None = None,
) -> HttpResponse:
    """The response after the modifiers."""
    modify = parse(document, "", TABLE).on_response
    assert modify is not None
    changed = MartianResponse(response, MartianRequest(request or outgoing()))
    modify(changed)
    return changed.to_http_response()


def headers(message: BackendRequest | HttpResponse, name: bytes) -> list[bytes]:
    return [value for each, value in message.headers if each == name]


MARK = {"header.Modifier": {"name": "X-Mark", "value": "yes"}}
OTHER = {"header.Modifier": {"name": "X-Mark", "value": "no"}}


def marks(filter_name: str, request: BackendRequest | None = None, **settings: Any) -> bytes:
    """ "yes" if the filter matches, "no" otherwise."""
    document = {filter_name: {"modifier": MARK, "else": OTHER, **settings}}
    return b"".join(headers(modified_request(document, request), b"x-mark"))


def test_headers_are_set_added_removed_and_copied() -> None:
    assert headers(
        modified_request({"header.Modifier": {"name": "x-TWO", "value": "c"}}), b"x-two"
    ) == [b"c"]
    added = modified_request({"header.Append": {"name": "X-Two", "value": "c"}})
    assert headers(added, b"x-two") == [b"a", b"b", b"c"]
    without = modified_request({"header.Blacklist": {"names": ["X-Two", "X-Not-There"]}})
    assert headers(without, b"x-two") == []
    assert headers(modified_request({"header.Copy": {"from": "X-Two", "to": "X-C"}}), b"x-c") == [
        b"a"
    ]
    assert headers(modified_request({"header.Copy": {"from": "X-No", "to": "X-C"}}), b"x-c") == [
        b""
    ]


def test_headers_of_responses_are_changed_too() -> None:
    both = {"fifo.Group": {"modifiers": [MARK, {"header.Blacklist": {"names": ["X-One"]}}]}}
    answer = modified_response(both)
    assert (headers(answer, b"x-mark"), headers(answer, b"x-one")) == ([b"yes"], [])


def test_an_id_is_made_once() -> None:
    [made] = headers(modified_request({"header.Id": {}}), b"x-krakend-id")
    assert len(made) == 36
    assert headers(modified_request({"header.Id": {"header": "X-One"}}), b"x-one") == [b"1"]


def test_the_host_header_and_the_address_change_independently() -> None:
    told = modified_request({"header.Modifier": {"name": "Host", "value": "other.test"}})
    assert told.host.origin == outgoing().host.origin
    assert b"\r\nHost: other.test\r\n" in write_head(told, b"\r\n\r\n")
    elsewhere = modified_request({"url.Modifier": {"scheme": "https", "host": "other.test"}})
    origin = elsewhere.host.origin
    assert (origin.scheme, origin.host, origin.port) == ("https", "other.test", 443)
    assert b"\r\nHost: host.test:8080\r\n" in write_head(elsewhere, b"\r\n\r\n")
    plain = modified_request({"header.Blacklist": {"names": ["Host"]}})
    assert b"\r\nHost: host.test:8080\r\n" in write_head(plain, b"\r\n\r\n")
    with pytest.raises(BackendFailure, match="multiple"):
        modified_request({"header.Append": {"name": "Host", "value": "x"}})


def test_no_modifier_sets_the_content_length() -> None:
    head = write_head(
        modified_request({"header.Modifier": {"name": "Content-Length", "value": "1"}}), b"\r\n\r\n"
    )
    assert head.count(b"Content-Length") == 1
    assert b"Content-Length: 4" in head


@pytest.mark.parametrize(
    ("settings", "target"),
    [
        ({"path": "/other"}, "/other?b=2&a=1"),
        ({"path": "a b?c#d%"}, "/a%20b%3Fc%23d%25?b=2&a=1"),
        ({"query": "x=1 2"}, "/p/q?x=1%202"),
        ({"path": "/x", "query": "y"}, "/x?y"),
        ({}, "/p/q?b=2&a=1"),
    ],
)
def test_a_url_is_changed_in_parts(settings: dict[str, Any], target: str) -> None:
    assert modified_request({"url.Modifier": settings}).target == target


def test_a_query_string_is_set_and_all_are_sorted() -> None:
    modifier = {"querystring.Modifier": {"name": "a", "value": "x y"}}
    assert modified_request(modifier).target == "/p/q?a=x+y&b=2"
    assert modified_request(modifier, outgoing("/p")).target == "/p?a=x+y"
    assert modified_request(modifier, outgoing("/p?a=1&a=2&c=%zz&%61=3")).target == "/p?a=x+y"


@pytest.mark.parametrize(
    ("settings", "port"),
    [({"port": 81}, 81), ({"defaultForScheme": True}, 80), ({"remove": True}, 80)],
)
def test_a_port_is_changed(settings: dict[str, Any], port: int) -> None:
    for host in ("http://host.test:8080", "http://host.test", "http://[::1]:8080", "http://[::1]"):
        before = outgoing(host=host).host.origin
        origin = modified_request({"port.Modifier": settings}, outgoing(host=host)).host.origin
        assert (origin.host, origin.port) == (before.host, port)


def test_a_body_is_replaced_with_its_type() -> None:
    modifier = {"body.Modifier": {"contentType": "text/x", "body": "aGVs\nbG8="}}
    request = modified_request(modifier)
    assert (request.body, headers(request, b"content-type")) == (b"hello", [b"text/x"])
    packed = HttpResponse(
        200, [(b"content-encoding", b"gzip"), (b"content-type", b"a/b")], b"x", False
    )
    answer = modified_response(modifier, packed)
    assert answer.headers == [(b"content-type", b"text/x")]
    assert (answer.body, answer.is_whole) == (b"hello", True)


def test_a_status_is_replaced() -> None:
    assert modified_response({"status.Modifier": {"statusCode": 404}}).status == 404


def test_the_url_is_stashed_in_both_directions() -> None:
    url = b"http://host.test:8080/p/q?b=2&a=1"
    modifier = {"stash.Modifier": {"headerName": "X-Url"}}
    request = modified_request(modifier)
    assert headers(request, b"x-url") == [url]
    assert headers(modified_response(modifier, request=request), b"x-url") == [url]


def test_a_cookie_is_added() -> None:
    modifier = {
        "cookie.Modifier": {
            "name": "n",
            "value": 'a, "b;',
            "path": "/x;y",
            "domain": ".example.com",
            "expires": "2030-01-02T03:04:05Z",
            "maxAge": 60,
            "httpOnly": True,
            "secure": True,
        }
    }
    assert headers(modified_request(modifier), b"cookie") == [b'c=v; d="w"; n="a, b"']
    assert headers(modified_response(modifier), b"set-cookie")[1] == (
        b'n="a, b"; Path=/xy; Domain=example.com; Expires=Wed, 02 Jan 2030 03:04:05 GMT; '
        b"Max-Age=60; HttpOnly; Secure"
    )


@pytest.mark.parametrize(
    ("name", "settings", "matches"),
    [
        ("header.Filter", {"name": "X-Two", "value": "b"}, True),
        ("header.Filter", {"name": "X-Two", "value": "c"}, False),
        ("header.Filter", {"name": "Host", "value": "host.test:8080"}, True),
        ("querystring.Filter", {"name": "a"}, True),
        ("querystring.Filter", {"name": "a", "value": "1"}, True),
        ("querystring.Filter", {"name": "a", "value": "2"}, False),
        ("querystring.Filter", {"name": "c"}, False),
        ("cookie.Filter", {"name": "c"}, True),
        ("cookie.Filter", {"name": "d", "value": "w"}, True),
        ("cookie.Filter", {"name": "d", "value": "v"}, False),
        ("url.Filter", {}, True),
        ("url.Filter", {"scheme": "http", "host": "*.test:8080", "path": "/p/q"}, True),
        ("url.Filter", {"query": "b=2&a=1"}, True),
        ("url.Filter", {"query": "a=1"}, False),
        ("url.Filter", {"scheme": "https"}, False),
        ("url.RegexFilter", {"regex": "^http://host.*/q"}, True),
        ("url.RegexFilter", {"regex": "^/p"}, False),
    ],
)
def test_a_filter_selects_its_modifier_or_else(
    name: str, settings: dict[str, Any], matches: bool
) -> None:
    assert marks(name, **settings) == (b"yes" if matches else b"no")
    no_else = modified_request({name: {"modifier": MARK, **settings}})
    assert headers(no_else, b"x-mark") == ([b"yes"] if matches else [])


@pytest.mark.parametrize(
    ("name", "settings", "mark"),
    [
        ("header.RegexFilter", {"header": "X-One", "regex": "^[0-9]$"}, b"yes"),
        ("header.RegexFilter", {"header": "X-One", "regex": "^a"}, b""),
        ("header.RegexFilter", {"header": "X-No", "regex": ".*"}, b""),
        ("port.Filter", {"port": 8080}, b"yes"),
        ("port.Filter", {"port": 80}, b""),
    ],
)
def test_some_filters_have_no_else(name: str, settings: dict[str, Any], mark: bytes) -> None:
    assert marks(name, **settings) == mark


def test_without_a_port_the_one_of_the_scheme_is_compared() -> None:
    for host, port in (("http://host.test", 80), ("https://host.test", 443)):
        assert marks("port.Filter", outgoing(host=host), port=port) == b"yes"


def test_a_response_is_filtered_by_its_own_headers_or_by_its_request() -> None:
    of_answer = {"cookie.Filter": {"name": "c", "value": "v", "modifier": MARK}}
    of_request = {"header.RegexFilter": {"header": "X-Two", "regex": "a", "modifier": MARK}}
    own = {"header.Filter": {"name": "X-One", "value": "1", "modifier": MARK}}
    for document in (of_answer, of_request, own):
        assert headers(modified_response(document), b"x-mark") == [b"yes"]


@pytest.mark.parametrize(
    ("host", "wanted", "matches"),
    [
        ("a.test", "a.test", True),
        ("a.test", "*.test", True),
        ("b.a.test", "*.test", False),
        ("a.test", "a*.test", True),
        ("a.test", "b*.test", False),
        ("test", "*", True),
        ("aa.test", "aa*aa.test", False),
    ],
)
def test_a_host_may_have_a_star_for_a_label(host: str, wanted: str, matches: bool) -> None:
    assert match_host(host, wanted) is matches


def append(letter: str) -> dict[str, Any]:
    return {"header.Append": {"name": "X-Order", "value": letter}}


def test_groups_run_in_their_order() -> None:
    fifo = {"fifo.Group": {"modifiers": [append("a"), append("b")]}}
    assert headers(modified_request(fifo), b"x-order") == [b"a", b"b"]
    ranked = [(1, "a"), (10, "b"), (1, "c"), (5, "d")]
    modifiers = [{"priority": rank, "modifier": append(letter)} for rank, letter in ranked]
    priority = {"priority.Group": {"modifiers": modifiers}}
    assert headers(modified_request(priority), b"x-order") == [b"b", b"d", b"c", b"a"]


def test_a_scope_limits_a_modifier_to_requests_or_responses() -> None:
    for scope, expected in (
        (["request"], (True, False)),
        (["response"], (False, True)),
        (["request", "response"], (True, True)),
        ([], (False, False)),
        (None, (True, True)),
    ):
        document = {"header.Modifier": {"name": "a", "value": "b", "scope": scope}}
        parsed = parse(document, "", TABLE)
        assert (parsed.on_request is not None, parsed.on_response is not None) == expected


def test_the_case_of_a_key_does_not_matter() -> None:
    assert modified_response({"status.Modifier": {"STATUSCODE": 404, "other": None}}).status == 404


FILTERS: dict[str, dict[str, Any]] = {
    "header.Filter": {"name": "X-One", "value": "x"},
    "header.RegexFilter": {"header": "X-One", "regex": "(a|b)*c"},
    "cookie.Filter": {"name": "a", "value": "b"},
    "querystring.Filter": {"name": "a", "value": "b"},
    "url.Filter": {"host": "*.test", "path": "/x", "query": "y"},
    "url.RegexFilter": {"regex": "(a|b)*c"},
    "port.Filter": {"port": 80},
}
EVERYTHING: list[dict[str, Any]] = [
    {"header.Modifier": {"name": "X-One", "value": "x"}},
    {"header.Append": {"name": "X-One", "value": "x"}},
    {"header.Copy": {"from": "X-One", "to": "Host"}},
    {"header.Copy": {"from": "Cookie", "to": "X-Copy"}},
    {"header.Id": {"header": "X-One"}},
    {"cookie.Modifier": {"name": "a", "value": "b"}},
    {"querystring.Modifier": {"name": "a", "value": "b"}},
    {"stash.Modifier": {"headerName": "X-Url"}},
    {"url.Modifier": {"path": "/x"}},
    {"port.Modifier": {"remove": True}},
    *({name: {"modifier": MARK, "else": OTHER, **each}} for name, each in FILTERS.items()),
]
names = st.sampled_from([b"x-one", b"cookie", b"set-cookie", b"content-type", b"x-other"])
values = st.binary(max_size=40)


@given(
    st.sampled_from(EVERYTHING),
    st.lists(st.tuples(names, values), max_size=6),
    st.text(st.characters(max_codepoint=126, min_codepoint=33), max_size=30),
)
def test_no_request_makes_a_modifier_raise(
    document: dict[str, Any], pairs: list[tuple[bytes, bytes]], query: str
) -> None:
    modify = parse(document, "", TABLE)
    request = MartianRequest(
        BackendRequest("GET", parse_host("http://a.test"), f"/p?{query}", pairs, b"")
    )
    if modify.on_request is not None:
        modify.on_request(request)
    try:
        assert write_head(request.to_backend_request(), b"\r\n\r\n").count(b"\r\n\r\n") == 1
    except GatewayError:
        return
    if modify.on_response is not None:
        modify.on_response(MartianResponse(HttpResponse(200, pairs, b""), request))
