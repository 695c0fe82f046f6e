"""Which query strings a backend gets, and whose word counts on who a client is."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.structs import Backend, Endpoint, RouterSettings, Service
from gateway.core.forwarding import (
    build_client_address,
    build_filter,
    build_forward_headers,
    build_forward_query,
    build_proxy_test,
)
from gateway.core.proxy import Request


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


@given(
    st.sampled_from(["10.0.0.1", "::ffff:10.0.0.1", "192.0.2.1", "fe80::1%eth0", ""]),
    st.lists(
        st.tuples(st.sampled_from([b"x-forwarded-for", b"x-real-ip", b"host"]), st.binary()),
        max_size=4,
    ),
)
def test_whatever_clients_send_an_address_comes_of_it(
    remote: str, headers: list[tuple[bytes, bytes]]
) -> None:
    service = Service(extra_config={"router": RouterSettings(trusted_proxies=("10.0.0.0/8",))})
    request = Request("GET", "/", {}, headers, remote=remote)
    address = build_client_address(service)(request)
    assert address == remote.removeprefix("::ffff:") or ip_address(address)
    if remote == "192.0.2.1":  # no proxy of ours
        assert address == remote


@pytest.mark.parametrize(
    ("remote", "is_one"),
    [("10.0.0.1", True), ("::ffff:10.9.9.9", True), ("2001:db8::1", True), ("192.0.2.1", False)],
)
def test_proxies_are_those_that_are_named(remote: str, is_one: bool) -> None:
    router = RouterSettings(trusted_proxies=("10.0.0.0/8", "2001:db8::/32"))
    is_proxy = build_proxy_test(Service(extra_config={"router": router}))
    assert is_proxy({"client": (remote, 1)}) is is_one
    assert not is_proxy({"client": None})
    assert build_proxy_test(Service())({"client": None})


def test_a_proxy_that_is_no_network_is_nobody() -> None:
    service = Service(extra_config={"router": RouterSettings(trusted_proxies=("lan",))})
    told = [(b"x-forwarded-for", b"192.0.2.1")]
    request = Request("GET", "/", {}, told, remote="10.0.0.1")
    assert build_client_address(service)(request) == "10.0.0.1"
    assert not build_proxy_test(service)({"client": ("10.0.0.1", 1)})
