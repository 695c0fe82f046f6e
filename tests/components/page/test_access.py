"""Who may open the page."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.components.page.access import NOT_HERE, ONLY_READ, WRONG_HOST, Access
from gateway.config.structs import PageSettings
from gateway.core.asgi import AsgiResponse


def refusal(
    settings: PageSettings,
    *,
    server: str = "127.0.0.1",
    client: str = "127.0.0.1",
    host: str = "localhost:9090",
    method: str = "GET",
    **headers: str,
) -> AsgiResponse | None:
    scope: dict[str, Any] = {
        "method": method,
        "server": (server, 9090),
        "client": (client, 40000),
        "headers": [
            (b"host", host.encode()),
            *((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()),
        ],
    }
    return Access(settings).refusal(scope)


DEFAULT = PageSettings()
OPEN = PageSettings(listen_ip="0.0.0.0")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_may_open_it(address: str) -> None:
    assert refusal(DEFAULT, server=address, client=address) is None


@pytest.mark.parametrize(
    ("server", "client"),
    [("10.0.0.1", "10.0.0.2"), ("10.0.0.1", "127.0.0.1"), ("127.0.0.1", "10.0.0.2"), ("", "")],
)
def test_other_machines_may_not(server: str, client: str) -> None:
    assert refusal(DEFAULT, server=server, client=client) is NOT_HERE


def test_a_server_that_does_not_say_who_asks_lets_nothing_through() -> None:
    scope = {"method": "GET", "headers": [(b"host", b"localhost")]}
    assert Access(DEFAULT).refusal(scope) is NOT_HERE


@pytest.mark.parametrize(
    "header", ["forwarded", "via", "x_forwarded_for", "x_forwarded_host", "cf_connecting_ip"]
)
def test_a_request_through_a_proxy_does_not_come_from_this_machine(header: str) -> None:
    assert refusal(DEFAULT, **{header: "192.0.2.1"}) is NOT_HERE
    assert refusal(OPEN, **{header: "192.0.2.1"}) is None


def test_with_a_login_every_machine_may_ask() -> None:
    settings = PageSettings(auth="auth/basic")
    assert refusal(settings, server="10.0.0.1", client="10.0.0.2", host="10.0.0.1:9090") is None


def test_listen_ip_says_on_which_address() -> None:
    settings = PageSettings(listen_ip="10.0.0.1")
    assert refusal(settings, server="10.0.0.1", client="10.0.0.2", host="10.0.0.1") is None
    assert refusal(settings, server="::ffff:10.0.0.1", client="10.0.0.2", host="10.0.0.1") is None
    assert refusal(settings, server="10.0.0.9", client="10.0.0.2", host="10.0.0.9") is NOT_HERE


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:9090",
        "localhost.",
        "127.0.0.1:9090",
        "[::1]:9090",
        "::1",
        "10.1.2.3",
    ],
)
def test_addresses_and_localhost_are_good_names(host: str) -> None:
    assert refusal(DEFAULT, host=host) is None


@pytest.mark.parametrize(
    "host", ["evil.test", "evil.test:9090", "localhost.evil.test", "127.0.0.1.evil.test", "a:b:c"]
)
def test_another_name_is_refused_because_a_site_may_point_it_here(host: str) -> None:
    assert refusal(DEFAULT, host=host) is WRONG_HOST
    assert refusal(OPEN, server="10.0.0.1", client="10.0.0.2", host=host) is WRONG_HOST


def test_names_of_the_configuration_are_good() -> None:
    settings = PageSettings(hosts=("Gateway.Example",))
    assert refusal(settings, host="gateway.example:9090") is None
    assert refusal(settings, host="other.example") is WRONG_HOST


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_it_is_only_read(method: str) -> None:
    assert refusal(DEFAULT, method=method) is ONLY_READ
    assert refusal(DEFAULT, method="HEAD") is None
