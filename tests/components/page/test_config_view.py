"""No secret is in the configuration that the page shows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.app.catalog import CATALOG
from gateway.components.page.config_view import HIDDEN, Redaction, extensions, hash_of, understood
from gateway.config.load import load

SECRET = "hunter2-Zq"
HASH = "$2b$04$" + "a" * 53


def shown(document: dict[str, Any], **environ: str) -> str:
    loaded = load({"version": 3, "endpoints": [], **document}, CATALOG, environ)
    return msgspec.json.encode(understood(loaded.service, loaded.placeholders)).decode()


def backend(host: str, **keys: Any) -> dict[str, Any]:
    one = {"host": [host], "disable_host_sanitize": True, **keys}
    return {"endpoints": [{"endpoint": "/a", "backend": [one]}]}


CONSUMER = {"backend/amqp/consumer": {"name": "orders", "exchange": "x"}}


@pytest.mark.parametrize(
    "document",
    [
        backend(f"amqp://me:{SECRET}@broker:5672/", extra_config=CONSUMER),
        backend(f"amqp://me:{SECRET}%2F%40@broker/", extra_config=CONSUMER),
        backend(f"http://me:{SECRET}@backend"),
        backend(f"http://me:a@b{SECRET}@backend"),
        backend("http://backend", url_pattern=f"/a?api_key={SECRET}&b=1"),
        backend("http://backend", url_pattern=f"/a?access_token={SECRET}"),
        backend("http://backend", url_pattern=f"/a?code={SECRET}"),
        backend(f"http://me:it's{SECRET}@backend"),
        backend(f"amqp://me:don't{SECRET}@broker/", extra_config=CONSUMER),
        backend("http://backend", extra_config={"proxy": {"static": {"data": {"n": SECRET}}}}),
        {"extra_config": {"modifier/lua-endpoint": {"pre": f"local t = [[{SECRET}]]"}}},
        backend(
            "http://backend",
            extra_config={
                "modifier/martian": {
                    "header.Modifier": {"scope": ["request"], "name": "X-Pin", "value": SECRET}
                }
            },
        ),
        {"extra_config": {"auth/basic": {"users": {"me": HASH.replace("aaa", SECRET[:3])}}}},
        {"extra_config": {"auth/api-keys": {"keys": [{"key": SECRET, "roles": ["a"]}]}}},
        {"extra_config": {"auth/api-keys": {"salt": SECRET, "keys": []}}},
        {
            "extra_config": {
                "redis": {"connection_pools": [{"name": "r", "address": "r", "password": SECRET}]}
            }
        },
        {"extra_config": {"auth/revoker": {"revoke_server_api_key": SECRET, "TTL": 5}}},
        backend(
            "http://backend",
            extra_config={
                "auth/client-credentials": {
                    "client_id": "me",
                    "client_secret": SECRET,
                    "token_url": "https://login/token",
                    "endpoint_params": {"assertion": [SECRET]},
                }
            },
        ),
        backend(
            "http://backend",
            extra_config={
                "modifier/martian": {
                    "header.Modifier": {
                        "scope": ["request"],
                        "name": "Authorization",
                        "value": f"Bearer {SECRET}",
                    }
                }
            },
        ),
        backend(
            "http://backend",
            extra_config={
                "modifier/martian": {
                    "header.Modifier": {"scope": ["request"], "name": "X-Api-Key", "value": SECRET}
                }
            },
        ),
        backend(
            "http://backend",
            extra_config={
                "modifier/lua-backend": {
                    "pre": f"local token = '{SECRET}'",
                    "allow_open_libs": True,
                }
            },
        ),
    ],
)
def test_a_secret_is_not_shown(document: dict[str, Any]) -> None:
    hidden = SECRET if "users" not in str(document) else HASH.replace("aaa", SECRET[:3])
    text = shown(document)
    assert hidden not in text
    assert HIDDEN in text


def test_a_string_with_a_placeholder_is_shown_as_it_is_in_the_file() -> None:
    text = shown(
        backend("amqp://${RABBIT}", extra_config=CONSUMER), RABBIT=f"me:{SECRET}@broker:5672/"
    )
    assert SECRET not in text
    assert "amqp://${RABBIT}" in text


def test_the_value_of_a_placeholder_is_hidden_wherever_it_is() -> None:
    document = {**backend("amqp://me:${PASSWORD}@b", extra_config=CONSUMER), "name": f"x {SECRET}!"}
    text = shown(document, PASSWORD=SECRET)
    assert SECRET not in text
    assert f"x {HIDDEN}!" in text


def test_what_is_no_secret_is_shown() -> None:
    config = {
        **backend("amqp://broker:5672/", extra_config=CONSUMER),
        "name": "Shop",
        "tls": {"keys": [{"public_key": "/etc/cert.pem", "private_key": "/etc/key.pem"}]},
    }
    loaded = load({"version": 3, **config}, CATALOG, {})
    document = understood(loaded.service, {})
    assert document["name"] == "Shop"
    assert document["tls"]["keys"] == [
        {"public_key": "/etc/cert.pem", "private_key": "/etc/key.pem"}
    ]
    [one] = document["endpoints"][0]["backend"]
    assert one["host"] == ["amqp://broker:5672/"]
    assert one["extra_config"]["backend/amqp/consumer"]["name"] == "orders"


@pytest.mark.parametrize(
    "value",
    [
        {"password": SECRET},
        {"Passwd": [SECRET, {"x": SECRET}]},
        {"a": {"secret_access_key": {"inner": SECRET}}},
        {"pin_token": 12345, "x": SECRET + "-----BEGIN PRIVATE KEY-----"},
        {"name": "cookie", "value": SECRET},
        {"args": {"anything": SECRET}},
        {"headers": {"X-Custom": SECRET}},
        {"url": f"https://u:{SECRET}@h/?q=1"},
        {"script": f'api_key = "{SECRET}"'},
        {"script": f"headers('Authorization', '{SECRET}')"},
        {"value": f"Basic {SECRET}"},
        {f"https://u:{SECRET}@h": 1},
    ],
)
def test_hostile_values_are_hidden(value: dict[str, Any]) -> None:
    text = msgspec.json.encode(Redaction({}).of_object(value)).decode()
    assert SECRET not in text
    assert "12345" not in text


def test_the_hash_does_not_depend_on_a_password() -> None:
    def hashed(password: str, name: str = "a") -> str:
        document = backend(f"amqp://me:{password}@broker/", extra_config=CONSUMER)
        loaded = load({"version": 3, "name": name, **document}, CATALOG, {})
        return hash_of(understood(loaded.service, {}))

    assert hashed("one") == hashed("two")
    assert hashed("one") != hashed("one", "b")


def test_keys_that_only_this_gateway_knows_are_named() -> None:
    settings = {"name": "q", "exchange": "x", "wait": "1s"}
    document = {
        **backend("amqp://broker/", extra_config={"backend/amqp/consumer": settings}),
        "extra_config": {"gateway": {"management_port": 9090, "page": {"samples": 7}}},
    }
    service = load({"version": 3, **document}, CATALOG, {}).service
    assert set(extensions(service)) == {
        '$.endpoints[0].backend[0].extra_config["backend/amqp/consumer"].wait',
        "$.extra_config.gateway.management_port",
        "$.extra_config.gateway.page",
    }
