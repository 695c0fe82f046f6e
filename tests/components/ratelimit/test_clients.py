"""How a limit tells clients apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.ratelimit.clients import NameClient, build_name_client
from gateway.components.ratelimit.limits import fingerprint
from gateway.config.structs import RouterSettings, Service
from gateway.core.proxy import Request


def name_of(strategy: str, key: str = "", service: Service | None = None) -> NameClient:
    found = build_name_client(strategy, key, service or Service())
    assert found is not None
    return found


def request(*headers: tuple[bytes, bytes], remote: str = "192.0.2.1", **params: str) -> Request:
    return Request("GET", "/", params, headers, remote=remote)


@pytest.mark.parametrize("strategy", ["", "nosuch", "header "])
def test_an_unknown_strategy_identifies_no_client(strategy: str) -> None:
    assert build_name_client(strategy, "X-Token", Service()) is None


@pytest.mark.parametrize("strategy", ["header", "Header", "HEADER"])
def test_a_header_is_found_whatever_its_capital_letters(strategy: str) -> None:
    name = name_of(strategy, "X-tOken")
    assert name(request((b"x-token", b"one"), (b"x-token", b"two"))) == "one"
    assert name(request()) == ""


def test_a_parameter_is_found_whatever_its_capital_letter() -> None:
    assert name_of("param", "id")(request(Id="7")) == "7"
    assert name_of("param", "Id")(request(Id="7")) == "7"
    assert name_of("param", "nosuch")(request(Id="7")) == ""
    assert name_of("param")(request(Id="7")) == ""


def test_an_address_is_that_of_the_connection_or_what_a_trusted_proxy_says() -> None:
    told = request((b"x-forwarded-for", b"198.51.100.7"))
    assert name_of("ip")(told) == "198.51.100.7"
    careful = Service(extra_config={"router": RouterSettings(trusted_proxies=("10.0.0.0/8",))})
    assert name_of("ip", service=careful)(told) == "192.0.2.1"


@pytest.mark.parametrize(
    ("told", "address"),
    [
        (b"198.51.100.1", "198.51.100.1"),
        (b" 198.51.100.1 , 203.0.113.9", "198.51.100.1"),
        (b"198.51.100.1:4711", "198.51.100.1"),
        (b"2001:db8::1", "2001:db8::/64"),
        (b"[2001:DB8:0::1]:4711", "2001:db8::/64"),
        (b"::ffff:198.51.100.1", "198.51.100.1"),
        (b"", "192.0.2.1"),
        (b"unknown", "192.0.2.1"),
        (b"[", "192.0.2.1"),
        (b",", "192.0.2.1"),
        (b":" * 1_000_000, "192.0.2.1"),
    ],
)
def test_an_address_may_stand_first_in_a_header(told: bytes, address: str) -> None:
    assert name_of("ip", "X-Real")(request((b"x-real", told))) == address


@pytest.mark.parametrize(
    ("remote", "name"),
    [
        ("2001:db8:1:2::3", "2001:db8:1:2::/64"),
        ("2001:0DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::3", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:C000:201", "192.0.2.1"),
        ("64:ff9b::192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("testclient", "testclient"),
    ],
)
def test_an_ipv6_address_counts_with_its_network_and_a_mapped_one_as_ipv4(
    remote: str, name: str
) -> None:
    assert name_of("ip")(request(remote=remote)) == name
    told = request((b"x-forwarded-for", remote.encode()))
    if "%" not in remote and remote != "testclient":
        assert name_of("ip")(told) == name


@pytest.mark.parametrize(
    ("prefix", "name"),
    [(128, "2001:db8:1:203::3"), (56, "2001:db8:1:200::/56"), (1, "::/1")],
)
def test_the_prefix_of_a_client_can_be_chosen(prefix: int, name: str) -> None:
    named = build_name_client("ip", "", Service(), prefix)
    assert named is not None
    assert named(request(remote="2001:db8:1:0203::3")) == name
    assert named(request(remote="192.0.2.1")) == "192.0.2.1"


@given(st.sampled_from(["ip", "header", "param"]), st.binary(), st.text(), st.text())
def test_no_request_raises(strategy: str, value: bytes, param: str, remote: str) -> None:
    name = name_of(strategy, "id")
    asked = request((b"id", value), (b"x-forwarded-for", value), remote=remote, Id=param)
    assert len(fingerprint(name(asked))) == 16


@given(st.text(), st.text())
def test_different_clients_have_different_keys(one: str, other: str) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (one == other)
