"""Where a request goes: hosts, patterns, and what a parameter may do to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.targets import BadTarget, build_target, hide_query, parse_host, shown_pattern


@pytest.mark.parametrize(
    ("pattern", "params", "target"),
    [
        ("/plain", {}, "/plain"),
        ("plain", {}, "/plain"),
        ("", {}, "/"),
        ("/a//b/../c/./d", {}, "/a//b/../c/./d"),
        ("/a b/é", {}, "/a%20b/%C3%A9"),
        ("/a?x=1&y=a b", {}, "/a?x=1&y=a%20b"),
        ("/a?x=%41+1", {}, "/a?x=%41+1"),
        ("/a#fragment", {}, "/a"),
        ("/u/{id}", {"Id": "42"}, "/u/42"),
        ("/u/{userId}/{ID}", {"UserId": "a", "ID": "b"}, "/u/a/b"),
        ("/{id}/{id}?again={id}", {"Id": "x"}, "/x/x?again=x"),
        ("/u/{id}", {"Id": "a:b,c@d;e=f"}, "/u/a:b,c@d;e=f"),
        ("/u/{id}", {"Id": "a b/é"}, "/u/a%20b/%C3%A9"),
        ("/u/{id}", {"Id": "a%20b 5%"}, "/u/a%20b%205%25"),
        ("/u/{id}", {"Id": "a?b#c"}, "/u/a%3Fb%23c"),
        ("/u?id={id}", {"Id": "a&b=c#d+e%41"}, "/u?id=a%26b%3Dc%23d%2Be%2541"),
        ("/u/{id}", {"Id": ""}, "/u/"),
        ("/u/{resp0_a.b}", {"Resp0_a.b": "1"}, "/u/1"),
        ("/u/{resp0_a}", {}, "/u/%7B%7B.Resp0_a%7D%7D"),
        ("/u/{id}.json", {"Id": "a.b"}, "/u/a.b.json"),
        ("/..{id}", {"Id": "x"}, "/..x"),
    ],
)
def test_targets(pattern: str, params: dict[str, str], target: str) -> None:
    assert build_target(pattern)(params) == target


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("/u/{id}", ".."),
        ("/u/{id}", "."),
        ("/u/{id}/x", "a/../../b"),
        ("/u/{id}/x", "%2e%2E/b"),
        ("/u/.{id}/x", "."),
        ("/u/{id}", "a\r\nX: 1"),
        ("/u?id={id}", "a\nb"),
        ("/u/{id}", "\x00"),
    ],
)
def test_a_value_that_would_leave_its_place_is_refused(pattern: str, value: str) -> None:
    with pytest.raises(BadTarget):
        build_target(pattern)({"Id": value})


@given(st.text())
def test_whatever_a_value_is_it_stays_in_the_path(value: str) -> None:
    try:
        target = build_target("/a/{id}/z?fixed=1")({"Id": value})
    except BadTarget:
        return
    path, _, query = target.partition("?")
    assert query == "fixed=1"
    assert path.startswith("/a/")
    assert path.endswith("/z")
    assert path.isascii()
    assert path.isprintable()
    assert not {" ", "#"} & set(path)
    assert ".." not in path.split("/")


@given(st.text())
def test_whatever_a_value_is_it_stays_one_value_of_the_query(value: str) -> None:
    try:
        target = build_target("/a?id={id}&z=1")({"Id": value})
    except BadTarget:
        return
    assert target.startswith("/a?id=")
    assert target.count("&") == 1
    assert target.isascii()
    assert target.isprintable()
    assert not {" ", "#"} & set(target)


def test_messages_show_a_pattern_as_krakend_does_but_no_values_of_its_query() -> None:
    assert shown_pattern("u/{id}?x={userId}&key=secret") == "/u/{{.Id}}?x=***&key=***"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://a/b", "http://a/b"),
        ("http://a/b=c", "http://a/b=c"),
        ("http://a/b?c", "http://a/b?c"),
        ("http://a/?key=a%26b==&x&y=", "http://a/?key=***&x&y=***"),
    ],
)
def test_messages_show_no_values_of_a_query(url: str, shown: str) -> None:
    assert hide_query(url) == shown


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("example.com", "http://example.com/x"),
        ("example.com:81", "http://example.com:81/x"),
        ("https://example.com/", "https://example.com/x"),
        ("http://[::1]:80", "http://[::1]:80/x"),
        ("http://bücher.example", "http://xn--bcher-kva.example/x"),
        ("http://me:secret@example.com", "http://example.com/x"),
    ],
)
def test_hosts(text: str, url: str) -> None:
    assert parse_host(text).show("/x") == url


def test_a_host_has_a_port_a_path_and_a_login() -> None:
    host = parse_host("https://me:s%40@example.com/base/")
    assert (host.origin.port, host.base, host.login) == (443, "/base", b"Basic bWU6c0A=")


@pytest.mark.parametrize(
    "text", ["", "ftp://x", "http://", "http://x:99999", "http://x?y", "http://a b\x00"]
)
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_host(text)
