"""Which query strings a backend gets."""

from __future__ import annotations

import pytest

from gateway.config.structs import Backend, Endpoint, Service
from gateway.forwarding import build_filter, build_forward_headers, build_forward_query
from gateway.proxy import Request


def forwarded(query: bytes, listed: tuple[str, ...], own: tuple[str, ...] = ()) -> str:
    forward = build_forward_query(
        Endpoint(input_query_strings=listed), Backend(input_query_strings=own)
    )
    return forward(Request("GET", "/", {}, query_string=query))


@pytest.mark.parametrize(
    ("query", "listed", "result"),
    [
        (b"a=1&b=2", (), ""),
        (b"a=1&b=2&A=3", ("a",), "a=1"),
        (b"b=2&a=2&a=1", ("*",), "a=2&a=1&b=2"),
        (b"a=x%20y%2Fz+w", ("a",), "a=x+y%2Fz+w"),
        (b"a", ("a",), "a="),
        (b"a=1;b=2&c=3", ("*",), "c=3"),
        (b"a=%zz&%=1&b=1", ("*",), "b=1"),
        (b"&&=1&", ("*",), "=1"),
        (b"a=%FF%00%0A", ("*",), "a=%FF%00%0A"),
        (b"%C3%A4=1", ("ä",), "%C3%A4=1"),
        (b"list[]=1", ("list[]",), "list%5B%5D=1"),
    ],
)
def test_what_the_endpoint_lists_is_forwarded(
    query: bytes, listed: tuple[str, ...], result: str
) -> None:
    assert forwarded(query, listed) == result


@pytest.mark.parametrize(
    ("listed", "own", "result"),
    [
        (("a", "b"), ("a",), "a=1"),
        (("a",), ("a", "b"), "a=1"),
        (("*",), ("b",), "b=2"),
        (("a",), ("b",), ""),
        (("a", "b"), ("*",), ""),
        ((), ("a",), ""),
    ],
)
def test_a_backends_list_only_narrows(
    listed: tuple[str, ...], own: tuple[str, ...], result: str
) -> None:
    assert forwarded(b"a=1&b=2", listed, own) == result


def test_what_a_stage_adds_is_forwarded_and_what_no_list_names_is_still_found() -> None:
    endpoint = Endpoint(input_headers=("X-One",), input_query_strings=("a",))
    backend = Backend(input_headers=("X-One",), input_query_strings=("b",))
    headers = [(b"x-one", b"1"), (b"content-type", b"a/b")]
    request = Request("GET", "/", {}, headers, b"a=1&c=3")
    request.claims = {"sub": "me"}
    filtered = build_filter(endpoint, Service())(request)
    names = {name for name, _ in filtered.headers}
    assert names == {b"x-one", b"x-forwarded-for", b"x-forwarded-host", b"user-agent"}
    assert (filtered.query_string, filtered.header(b"content-type")) == (b"a=1", b"a/b")
    assert (filtered.claims, filtered.taken) == ({"sub": "me"}, request.taken)

    filtered.headers = [*filtered.headers, (b"x-new", b"n")]
    filtered.query_string = b"a=1&b=2"
    anywhere = build_forward_headers(endpoint, Backend(), Service())(filtered.copy())
    assert (b"x-new", b"n") in anywhere
    assert build_forward_headers(endpoint, backend, Service())(filtered) == [(b"x-one", b"1")]
    assert build_forward_query(endpoint, backend)(filtered) == "b=2"

    of_backend = build_filter(endpoint, Service(), backend)(filtered)
    of_backend.headers = [*of_backend.headers, (b"x-new", b"n")]
    forwarded_now = build_forward_headers(endpoint, backend, Service())(of_backend)
    assert forwarded_now == [(b"x-one", b"1"), (b"x-new", b"n")]
