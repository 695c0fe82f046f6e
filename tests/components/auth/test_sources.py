"""A validator with several sources of keys."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio import fail_after

from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.config.findings import ConfigError
from gateway.config.load import load

from ...http.service import Connection, Service, answering, message, serving
from ...http.test_tls import AUTHORITY, server_side
from .support import echoing, encoded, endpoint, get, jwk, key_set, opened, private_key, signed
from .test_key_source import serving_keys

pytestmark = pytest.mark.anyio

FIRST, SECOND = b"the secret of the first issuer ...", b"and that of the second one, no less"


def secret(value: bytes, kid: str | None) -> dict[str, Any]:
    described = {"kty": "oct", "k": encoded(value)}
    return described if kid is None else {**described, "kid": kid}


def asking(*urls: str, **settings: Any) -> dict[str, Any]:
    return {"alg": "HS256", "jwk_urls": [*urls], "disable_jwk_security": True, **settings}


@contextmanager
def two_issuers(one: bytes, two: bytes) -> Generator[tuple[Service, Service, Service]]:
    """Both, and a backend."""
    with serving(serving_keys(one)) as first, serving(serving_keys(two)) as second:
        with serving(echoing) as backend:
            yield first, second, backend


async def test_the_keys_of_every_source_are_used(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(jwk("HS256", "own")))
    one, two = key_set(secret(FIRST, "1")), key_set(secret(SECOND, "2"))
    with two_issuers(one, two) as (first, second, backend):
        validator = asking(first.url, second.url, jwk_local_path=str(path))
        async with opened(endpoint(backend.url, validator)) as app:
            for token in (
                signed({}, kid="own"),
                signed({}, kid="1", key=FIRST),
                signed({}, kid="2", key=SECOND),
            ):
                assert (await get(app, "/a", token)).status == 200
            assert (await get(app, "/a", signed({}, kid="1", key=SECOND))).status == 401
            assert (await get(app, "/a", signed({}, kid="3", key=SECOND))).status == 401


async def test_with_a_file_jwk_url_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(jwk("HS256", "own")))
    one, two = key_set(secret(FIRST, "1")), key_set(secret(SECOND, "2"))
    with two_issuers(one, two) as (first, _, backend):
        validator = asking(jwk_url=first.url, jwk_local_path=str(path))
        async with opened(endpoint(backend.url, validator)) as app:
            assert (await get(app, "/a", signed({}, kid="own"))).status == 200
            assert (await get(app, "/a", signed({}, kid="1", key=FIRST))).status == 401


@pytest.mark.parametrize("kid", ["k", None])
async def test_sources_may_use_the_same_key_ids(kid: str | None) -> None:
    one, two = key_set(secret(FIRST, kid)), key_set(secret(SECOND, kid))
    with two_issuers(one, two) as (first, second, backend):
        async with opened(endpoint(backend.url, asking(first.url, second.url))) as app:
            await get(app, "/a", signed({}, kid="unknown"))  # waits for both
            for key in (FIRST, SECOND):
                assert (await get(app, "/a", signed({}, kid=kid, key=key))).status == 200
            assert (await get(app, "/a", signed({}, kid=kid, key=b"x" * 32))).status == 401


async def test_a_key_is_used_for_the_algorithm_of_the_validator_alone() -> None:
    public = jwk("RS256", "1")
    text = public["n"].encode()
    with two_issuers(key_set(public), key_set(secret(SECOND, "2"))) as (first, second, backend):
        async with opened(endpoint(backend.url, asking(first.url, second.url))) as app:
            assert (await get(app, "/a", signed({}, kid="2", key=SECOND))).status == 200
            assert (await get(app, "/a", signed({}, kid="1", key=text))).status == 401
            token = signed({}, "RS256", "1", private_key("RS256"))
            assert (await get(app, "/a", token)).status == 401


async def test_a_source_that_is_down_stops_no_other() -> None:
    down = answering(message(b"{}", "500 Internal Server Error"))
    with serving(down) as first, serving(serving_keys(key_set(secret(SECOND, "2")))) as second:
        with serving(echoing) as backend:
            async with opened(endpoint(backend.url, asking(first.url, second.url))) as app:
                assert (await get(app, "/a", signed({}, kid="2", key=SECOND))).status == 200
                assert (await get(app, "/a", signed({}, kid="1", key=FIRST))).status == 401


async def test_no_request_waits_for_a_source_that_hangs_if_another_has_the_key() -> None:
    is_over = threading.Event()

    def hanging(service: Service, connection: Connection, request: bytes) -> bool:
        is_over.wait()
        return False

    with serving(hanging) as first, serving(serving_keys(key_set(secret(SECOND, "2")))) as second:
        with serving(echoing) as backend:
            config = endpoint(backend.url, asking(first.url, second.url), timeout="1h")
            async with opened(config) as app:
                with fail_after(5):
                    assert (await get(app, "/a", signed({}, kid="2", key=SECOND))).status == 200
                is_over.set()


async def test_an_unknown_key_is_searched_in_every_source() -> None:
    # The old key stays: looking for another source's key may already bring the new one.
    old_1, old_2 = secret(FIRST, "1"), secret(SECOND, "2")
    one = serving_keys(key_set(old_1), key_set(old_1, secret(FIRST, "new 1")))
    two = serving_keys(key_set(old_2), key_set(old_2, secret(SECOND, "new 2")))
    with serving(one) as first, serving(two) as second, serving(echoing) as backend:
        validator = asking(first.url, second.url, failed_jwk_key_cooldown="1ns")
        async with opened(endpoint(backend.url, validator)) as app:
            for kid, key in (("1", FIRST), ("2", SECOND), ("new 2", SECOND), ("new 1", FIRST)):
                assert (await get(app, "/a", signed({}, kid=kid, key=key))).status == 200


async def test_one_url_without_tls_and_no_source_is_trusted() -> None:
    with serving(serving_keys(key_set(secret(FIRST, "1"))), server_side()) as first:
        settings = {"jwk_local_ca": AUTHORITY, "disable_jwk_security": False}
        with serving(echoing) as backend:
            for urls, status in (([first.url], 200), ([first.url, "http://127.0.0.1:9"], 401)):
                async with opened(endpoint(backend.url, asking(*urls, **settings))) as app:
                    reply = await get(app, "/a", signed({}, kid="1", key=FIRST))
                    assert reply.status == status


# KrakenD Enterprise's plugin.


def aggregating(*origins: str, **plugin: Any) -> dict[str, Any]:
    settings = {"port": 9876, "cache": True, "origins": [*origins], **plugin}
    return {"plugin/http-server": {"name": ["jwk-aggregator"], "jwk-aggregator": settings}}


@pytest.mark.parametrize("url", ["http://localhost:9876", "http://127.0.0.1:9876/keys"])
async def test_a_url_with_the_port_of_the_aggregator_means_its_origins(url: str) -> None:
    one, two = key_set(secret(FIRST, "1")), key_set(secret(SECOND, "2"))
    with two_issuers(one, two) as (first, second, backend):
        validator = {"alg": "HS256", "jwk_url": url, "disable_jwk_security": True, "cache": True}
        root = aggregating(first.url, second.url)
        async with opened(endpoint(backend.url, validator), extra_config=root) as app:
            for kid, key in (("1", FIRST), ("2", SECOND)):
                assert (await get(app, "/a", signed({}, kid=kid, key=key))).status == 200


async def test_the_certificate_of_an_origin_is_verified() -> None:
    with serving(serving_keys(key_set(secret(FIRST, "1"))), server_side()) as first:
        url = "http://localhost:9876"
        validator = {"alg": "HS256", "jwk_url": url, "disable_jwk_security": True}
        async with opened(
            endpoint("http://127.0.0.1:9999", validator), extra_config=aggregating(first.url)
        ) as app:
            assert (await get(app, "/a", signed({}, kid="1", key=FIRST))).status == 401


def warnings(root: dict[str, Any], **validator: Any) -> str:
    document = {
        "version": 3,
        "endpoints": [endpoint("http://backend", {"alg": "RS256", **validator})],
        "extra_config": root,
    }
    loaded = load(document, CATALOG, {})
    return "\n".join(map(str, (*loaded.findings, *check(loaded.service, CATALOG))))


def test_check_reports_sources_that_are_used_differently(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(jwk("RS256")))
    insecure = {"disable_jwk_security": True, "audience": ["a"], "require_exp": True}
    text = warnings({}, jwk_url="https://a", jwk_local_path=str(path), **insecure)
    assert "has no effect together with jwk_local_path" in text
    text = warnings({}, jwk_urls=["https://a"], cache=True)
    assert "only this gateway knows: jwk_urls" in text
    text = warnings(aggregating("https://a"), jwk_url="http://localhost:9876", **insecure)
    assert "nothing listens on port 9876" in text
    assert "the key server is not verified" not in text
    text = warnings(aggregating("http://a"), jwk_url="http://localhost:9876", **insecure)
    assert "the key server is not verified" in text


@pytest.mark.parametrize(
    ("root", "validator", "path"),
    [
        ({}, {"jwk_urls": ["https://a", "ftp://a"]}, "jwk_urls"),
        (aggregating("ftp://a"), {"jwk_url": "https://a"}, "jwk-aggregator"),
        (aggregating("https://a", port="none"), {"jwk_url": "https://a"}, "jwk-aggregator"),
    ],
)
def test_an_invalid_source_stops_the_start(
    root: dict[str, Any], validator: dict[str, Any], path: str
) -> None:
    with pytest.raises(ConfigError, match=path):
        warnings(root, **validator)
