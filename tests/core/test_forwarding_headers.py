"""Which headers a backend gets, and what it is told of the client."""

from __future__ import annotations

import ipaddress

import pytest

from gateway.config.structs import Backend, Endpoint, GatewaySettings, RouterSettings, Service
from gateway.core.forwarding import (
    MAX_PROXIES,
    build_client_address,
    build_connection_guard,
    build_filter,
    build_forward_headers,
)
from gateway.core.proxy import Request
from gateway.core.version import USER_AGENT

Pairs = list[tuple[bytes, bytes]]

FOR = b"x-forwarded-for"


def asked(headers: Pairs, remote: str = "192.0.2.7") -> Request:
    return Request("GET", "/", {}, [(b"host", b"gw.test"), *headers], remote=remote)


def forwarded(headers: Pairs, listed: tuple[str, ...], own: tuple[str, ...] = ()) -> Pairs:
    endpoint = Endpoint(input_headers=listed)
    forward = build_forward_headers(endpoint, Backend(input_headers=own), Service())
    return forward(asked(headers))


OF_THE_GATEWAY = [
    (b"x-forwarded-for", b"192.0.2.7"),
    (b"x-forwarded-host", b"gw.test"),
    (b"user-agent", USER_AGENT),
]


def test_without_a_list_a_backend_gets_the_content_type_and_the_gateways_own() -> None:
    given = [(b"x-a", b"1"), (b"content-type", b"a/b")]
    assert forwarded(given, ()) == [(b"content-type", b"a/b"), *OF_THE_GATEWAY]


def test_a_backends_list_holds_for_the_gateways_headers_too() -> None:
    given = [(b"x-a", b"1"), (b"x-b", b"2")]
    assert forwarded(given, ("X-A", "X-B"), ("x-a",)) == [(b"x-a", b"1")]


def test_everything_is_a_word_of_endpoints_only() -> None:
    given = [(b"x-a", b"1"), (b"x-b", b"2")]
    assert forwarded(given, ("*",), ("*", "x-a")) == [(b"x-a", b"1")]


def stripped(listed: tuple[str, ...], **settings: object) -> list[bytes]:
    """The names that are left of a request whose Connection names nearly all of them."""
    router = RouterSettings(**settings)  # type: ignore[arg-type]
    service = Service(extra_config={"router": router})
    guard = build_connection_guard(Endpoint(input_headers=listed), service)
    request = asked(
        [
            *((b"connection", b"X-A, close"), (b"connection", b" x-real-ip ,HOST,x-forwarded-for")),
            *((b"x-a", b"1"), (b"x-b", b"2"), (b"x-real-ip", b"::1"), (FOR, b"::2")),
        ]
    )
    if guard is not None:
        assert guard(request) is None
    return [name for name, _ in request.headers]


def test_what_connection_names_is_taken_out_but_for_what_the_gateway_reads() -> None:
    assert stripped(("*",)) == [b"host", b"x-b", b"x-real-ip", FOR]
    assert stripped(("Connection",), remote_ip_headers=("X-Real-Ip",)) == [
        *(b"host", b"x-b", b"x-real-ip")
    ]


def test_an_endpoint_that_does_not_forward_connection_does_not_look_at_it() -> None:
    assert stripped(("X-A",))[-4:] == [b"x-a", b"x-b", b"x-real-ip", FOR]


def test_via_is_the_clients_unless_its_user_agent_is_forwarded() -> None:
    via = (b"x-forwarded-via", b"edge")
    assert via in forwarded([via], ("X-Forwarded-Via",))
    told = forwarded([via, (b"user-agent", b"curl")], ("*",))
    assert [value for name, value in told if name == via[0]] == [USER_AGENT]


def test_of_several_user_agents_the_first_counts() -> None:
    told = forwarded([(b"user-agent", b"curl"), (b"user-agent", b"other")], ("User-Agent",))
    assert [value for name, value in told if name == b"user-agent"] == [b"curl"]


def address(headers: Pairs, remote: str = "192.0.2.7", **settings: object) -> str:
    router = RouterSettings(**settings)  # type: ignore[arg-type]
    client_address = build_client_address(Service(extra_config={"router": router}))
    return client_address(asked(headers, remote))


PROXIES = ("192.0.2.0/24", "10.0.0.0/8")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], "192.0.2.7"),
        ([(FOR, b"1.2.3.4, 10.0.0.1")], "1.2.3.4"),
        ([(FOR, b"6.6.6.6"), (FOR, b"1.2.3.4, 10.0.0.1")], "1.2.3.4"),
        ([(FOR, b"1.2.3.4"), (FOR, b"bad")], "192.0.2.7"),
        ([(FOR, b"6.6.6.6, 1.2.3.4, ::ffff:10.0.0.1")], "1.2.3.4"),
        ([(FOR, b"::ffff:1.2.3.4")], "::ffff:1.2.3.4"),
        ([(FOR, b"2001:DB8::1")], "2001:DB8::1"),
        ([(FOR, b"fe80::1%eth0")], "192.0.2.7"),
        ([(FOR, b"01.2.3.4"), (b"x-real-ip", b"1.2.3.4")], "1.2.3.4"),
    ],
)
def test_the_address_is_the_last_one_that_is_no_trusted_proxy(
    headers: Pairs, expected: str
) -> None:
    assert address(headers, trusted_proxies=PROXIES) == expected


def test_who_is_no_trusted_proxy_is_not_believed() -> None:
    told = [(FOR, b"1.2.3.4")]
    assert address(told, "203.0.113.1", trusted_proxies=PROXIES) == "203.0.113.1"
    assert address(told, "203.0.113.1", forwarded_by_client_ip=False) == "203.0.113.1"
    assert address(told, "203.0.113.1") == "1.2.3.4"


def test_only_so_many_addresses_of_a_list_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []

    def ip_address(text: str) -> object:
        looked_at.append(text)
        return ipaddress.ip_address(text)

    monkeypatch.setattr("gateway.core.forwarding.ip_address", ip_address)
    assert address([(FOR, b"1.2.3.4" + b", 10.0.0.1" * MAX_PROXIES)]) == "1.2.3.4"
    looked_at.clear()
    assert address([(FOR, b"1.2.3.4, " * 100_000 + b"10.0.0.1")]) == "192.0.2.7"
    assert len(looked_at) <= MAX_PROXIES + 1
    assert (
        address([(FOR, b"6.6.6.6," * 100_000 + b"1.2.3.4")], trusted_proxies=PROXIES) == "1.2.3.4"
    )
    assert address([(FOR, b":" * 1_000_000)]) == "192.0.2.7"
    assert max(map(len, looked_at)) < 50


WITH_IDS = Service(extra_config={"gateway": GatewaySettings(request_id=True)})
ID = (b"x-request-id", b"one")


@pytest.mark.parametrize("listed", [(), ("X-A",), ("*",), ("X-Request-Id",)])
@pytest.mark.parametrize("own", [(), ("X-A",)])
def test_every_backend_gets_the_request_id(listed: tuple[str, ...], own: tuple[str, ...]) -> None:
    endpoint, backend = Endpoint(input_headers=listed), Backend(input_headers=own)
    forward = build_forward_headers(endpoint, backend, WITH_IDS)
    assert [each for each in forward(asked([ID])) if each[0] == ID[0]] == [ID]
    filtered = build_filter(endpoint, WITH_IDS, backend)(asked([ID]))
    assert [each for each in forward(filtered) if each[0] == ID[0]] == [ID]


def test_without_the_setting_a_request_id_is_a_header_like_any_other() -> None:
    assert ID not in forwarded([ID], ("X-A",))
    assert ID in forwarded([ID], ("X-Request-Id",))


def test_a_client_cannot_remove_the_request_id() -> None:
    guard = build_connection_guard(Endpoint(input_headers=("*",)), WITH_IDS)
    assert guard is not None
    request = asked([ID, (b"connection", b"X-Request-Id, close")])
    guard(request)
    assert request.header(b"x-request-id") == b"one"
