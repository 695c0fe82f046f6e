"""Broker URLs as KrakenD's library reads them."""

from __future__ import annotations

import pytest

from gateway.amqp.connection.urls import parse_broker_url
from gateway.errors import GatewayError


@pytest.mark.parametrize(
    ("url", "vhost"),
    [
        ("amqp://host", "/"),
        ("amqp://host/", "/"),
        ("amqp://host/%2F", "/"),
        ("amqp://host/%2f", "/"),
        ("amqp://host/shop", "shop"),
        ("amqp://host/a%2Fb", "a/b"),
        ("amqp://host/a%20b%25", "a b%"),
    ],
)
def test_vhost(url: str, vhost: str) -> None:
    assert parse_broker_url(url).vhost == vhost


def test_options_are_translated_for_aiormq() -> None:
    url = parse_broker_url(
        "amqps://me:p%40ss%2F@broker/v?heartbeat=5&connection_timeout=1500&cacertfile=/ca.pem"
        "&certfile=/c.pem&keyfile=/k.pem&server_name_indication=other&channel_max=7"
    )
    assert url.aiormq.port == 5671
    assert url.aiormq.password == "p@ss/"
    assert dict(url.aiormq.query) == {
        "heartbeat": "5",
        "name": "hutch-gateway",
        "cafile": "/ca.pem",
        "certfile": "/c.pem",
        "keyfile": "/k.pem",
    }
    assert (url.heartbeat, url.connect_timeout) == (5, 1.5)
    assert (url.server_name, url.channel_max) == ("other", 7)


def test_defaults_are_those_of_krakend() -> None:
    url = parse_broker_url("amqp://localhost")
    assert (url.heartbeat, url.connect_timeout, url.channel_max) == (10, 30.0, 0)
    assert (url.aiormq.user, url.aiormq.password, url.aiormq.port) == ("guest", "guest", 5672)


def test_no_credentials_are_printed() -> None:
    url = parse_broker_url("amqp://me:secret@broker:1234/shop?keyfile=/secret")
    assert str(url) == repr(url) == f"{url}" == "amqp://broker:1234/shop"


@pytest.mark.parametrize(
    "url",
    [
        "http://shop",
        "amqp://shop:port",
        "amqp://shop:99999",
        "amqp://shop:0",
        "amqp://[::1",
        "amqp://\ud800",
        "",
        "amqp://shop?heartbeat=-1",
        "amqp://shop?heartbeat=65536",
        "amqp://shop?heartbeat=\u00b2",
        "amqp://shop?heartbeat=",
        "amqp://shop?channel_max=x",
        "amqp://shop?channel_max=65536",
        "amqp://shop?connection_timeout=2147483648",
        f"amqp://shop?connection_timeout={'9' * 5000}",
        f"amqp://shop/{'v' * 256}",
        f"amqp://shop/{'%C3%A4' * 128}",
    ],
)
def test_a_bad_url_is_a_clear_error(url: str) -> None:
    with pytest.raises(GatewayError) as error:
        parse_broker_url(url)
    assert "shop" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "amqp://shop:65535?heartbeat=65535&channel_max=65535",
        "amqp://shop?connection_timeout=2147483647",
        f"amqp://shop/{'v' * 255}",
    ],
)
def test_a_url_that_amqp_can_carry_is_accepted(url: str) -> None:
    assert parse_broker_url(url)
