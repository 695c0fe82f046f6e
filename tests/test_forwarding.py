"""Which query strings a backend gets."""

from __future__ import annotations

import pytest

from gateway.config.structs import Backend, Endpoint
from gateway.forwarding import build_forward_query
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
