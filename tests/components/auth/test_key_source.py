"""Keys from URLs: fetched, kept, fetched anew; and the TLS around them."""

from __future__ import annotations

import logging
import ssl
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from anyio import Event, create_task_group, fail_after
from anyio.lowlevel import checkpoint
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate

from gateway.app.service import open_gateway
from gateway.components.auth.key_source import RemoteKeys
from gateway.config.json_types import Json
from gateway.errors import BackendFailure

from ...http.service import Script, Service, answering, message, serving
from ...http.test_tls import AUTHORITY, CERTIFICATE, server_side
from .support import echoing, endpoint, get, jwk, key_set, opened, signed

pytestmark = pytest.mark.anyio


class Server:
    """Answers fetches as it is told."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def fetch(self) -> bytes:
        await checkpoint()
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


ONE, TWO = key_set(jwk("HS256")), key_set(jwk("HS256"), jwk("HS256", "new"))


def kids(source: RemoteKeys) -> list[Json]:
    return [key["kid"] for key in source.jwks]


async def first_fetch(source: RemoteKeys) -> None:
    waiting = source.request_refresh()
    assert waiting is not None
    with fail_after(5):
        await waiting.wait()


async def test_a_request_waits_for_the_first_fetch() -> None:
    source = RemoteKeys("keys", Server(ONE).fetch, 900, 10)
    async with source.opened():
        await first_fetch(source)
        assert (kids(source), source.version) == (["k"], 1)


async def test_unknown_keys_cause_a_fetch_and_then_none_for_a_while() -> None:
    server = Server(ONE, TWO)
    source = RemoteKeys("keys", server.fetch, 900, 0.0)
    async with source.opened():
        await first_fetch(source)
        await first_fetch(source)
        assert (kids(source), source.version) == (["k", "new"], 2)
        source.cooldown = 60.0
        assert source.request_refresh() is None
        assert server.asked == 2


async def test_many_requests_cause_one_fetch() -> None:
    server = Server(ONE)
    source = RemoteKeys("keys", server.fetch, 900, 0.0)
    async with source.opened():
        async with create_task_group() as requests:
            for _ in range(10):
                requests.start_soon(first_fetch, source)
        assert server.asked == 1


async def test_unchanged_keys_keep_their_version() -> None:
    source = RemoteKeys("keys", Server(ONE).fetch, 900, 0.0)
    async with source.opened():
        await first_fetch(source)
        await first_fetch(source)
        assert source.version == 1


async def test_keys_are_fetched_again_in_the_background() -> None:
    server, seen = Server(ONE, TWO), Event()
    inner = server.fetch

    async def fetch() -> bytes:
        answer = await inner()
        if server.asked == 3:
            seen.set()
        return answer

    source = RemoteKeys("keys", fetch, 0.01, 900)
    async with source.opened():
        with fail_after(5):
            await seen.wait()
        assert kids(source) == ["k", "new"]


async def test_old_keys_stay_valid_while_the_fetch_fails() -> None:
    source = RemoteKeys("keys", Server(ONE, BackendFailure("down")).fetch, 900, 0.0)
    async with source.opened():
        await first_fetch(source)
        await first_fetch(source)
        assert kids(source) == ["k"]
        assert source.readiness()["problem"] == "down"


async def test_old_keys_are_dropped_after_another_duration() -> None:
    source = RemoteKeys("keys", Server(ONE, BackendFailure("down")).fetch, 900, 0.0)
    async with source.opened():
        await first_fetch(source)
        source.duration = 0.0
        await first_fetch(source)
        assert (kids(source), source.version) == ([], 2)


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 99999])
async def test_a_response_that_is_not_a_key_set_is_a_problem(
    content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    source = RemoteKeys("keys.test", Server(content).fetch, 900, 0.0)
    with caplog.at_level(logging.WARNING):
        async with source.opened():
            await first_fetch(source)
    assert source.readiness()["problem"]
    assert "keys.test" in caplog.text


# Over HTTP.


def serving_keys(*sets: bytes) -> Script:
    """One set after the other, the last one again and again."""
    left = list(sets)

    def script(service: Service, connection: Any, request: bytes) -> bool:
        connection.sendall(message(left.pop(0) if len(left) > 1 else left[0]))
        return True

    return script


def remote(url: str, **settings: Any) -> dict[str, Any]:
    return {"alg": "HS256", "jwk_url": f"{url}/keys?a=b", "disable_jwk_security": True, **settings}


async def test_endpoints_share_the_keys_of_a_url() -> None:
    with serving(serving_keys(ONE)) as keys, serving(echoing) as service:
        endpoints = [
            {**endpoint(service.url, remote(keys.url)), "endpoint": path} for path in ("/a", "/b")
        ]
        async with opened(*endpoints) as app:
            for path in ("/a", "/b"):
                assert (await get(app, path, signed({}))).status == 200
    assert len(keys.requests) == 1
    assert keys.requests[0].startswith(b"GET /keys?a=b HTTP/1.1\r\n")


async def test_a_new_key_is_found_when_a_token_names_it() -> None:
    with serving(serving_keys(ONE, TWO)) as keys, serving(echoing) as service:
        config = endpoint(service.url, remote(keys.url, failed_jwk_key_cooldown="1ns"))
        async with opened(config) as app:
            assert (await get(app, "/a", signed({}))).status == 200
            assert (await get(app, "/a", signed({}, kid="new"))).status == 200
            assert (await get(app, "/a", signed({}, kid="none"))).status == 401


async def test_without_keys_requests_are_refused() -> None:
    with serving(answering(message(b"{}", "500 Internal Server Error"))) as keys:
        async with opened(endpoint("http://127.0.0.1:9999", remote(keys.url))) as app:
            assert (await get(app, "/a", signed({}))).status == 401


async def over_tls(server: ssl.SSLContext | None = None, **settings: Any) -> int:
    """What a client gets when the keys come over TLS."""
    with serving(serving_keys(ONE), server or server_side()) as keys, serving(echoing) as service:
        validator = {"alg": "HS256", "jwk_url": f"{keys.url}/keys", **settings}
        async with opened(endpoint(service.url, validator)) as app:
            return (await get(app, "/a", signed({}))).status


TRUSTED: dict[str, Any] = {"jwk_local_ca": AUTHORITY}


def fingerprint(path: str) -> str:
    key = load_pem_x509_certificate(Path(path).read_bytes()).public_key()
    shown = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return urlsafe_b64encode(sha256(shown).digest()).decode()


async def test_no_secret_of_a_url_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    with serving(answering(message(b"", "500 Internal Server Error"))) as keys:
        host = keys.url.replace("://", "://me:pass1word@")
        url = f"{host}/keys?key=pass2word&b=pass3word#pass4word"
        closed = "http://127.0.0.1:1/keys?key=pass5word"
        for each in (url, closed):
            validator = {"alg": "HS256", "jwk_url": each, "disable_jwk_security": True}
            document = {"version": 3, "endpoints": [endpoint("http://127.0.0.1:9999", validator)]}
            async with open_gateway(document) as gateway:
                assert (await get(gateway.asgi, "/a", signed({}))).status == 401
                shown = str(gateway.readiness())
                assert "/keys" in shown
                assert "word" not in shown + caplog.text


async def test_the_certificate_of_the_key_server_is_verified() -> None:
    assert await over_tls() == 401
    assert await over_tls(**TRUSTED) == 200
    assert await over_tls(disable_jwk_security=True) == 200


async def test_a_pinned_key_server_must_have_the_pinned_key() -> None:
    good, other = fingerprint(CERTIFICATE), fingerprint(AUTHORITY)
    assert await over_tls(**TRUSTED, jwk_fingerprints=[other, good]) == 200
    assert await over_tls(**TRUSTED, jwk_fingerprints=[other]) == 401
    assert await over_tls(disable_jwk_security=True, jwk_fingerprints=[other]) == 401


async def test_cipher_suites_are_those_that_are_named() -> None:
    old = server_side(maximum_version=ssl.TLSVersion.TLSv1_2)
    old.set_ciphers("ECDHE+AESGCM:!AES128")
    assert await over_tls(server=old, **TRUSTED, cipher_suites=[49195, 49199]) == 401
    assert await over_tls(server=old, **TRUSTED, cipher_suites=[49196, 49200]) == 200


async def test_no_redirect_leaves_tls() -> None:
    with serving(serving_keys(ONE)) as plain:
        away = message(b"", "302 Found", f"Location: {plain.url}/keys")
        with serving(answering(away), server_side()) as keys, serving(echoing) as service:
            validator = {"alg": "HS256", "jwk_url": f"{keys.url}/keys", **TRUSTED}
            async with opened(endpoint(service.url, validator)) as app:
                assert (await get(app, "/a", signed({}))).status == 401
    assert plain.requests == []
