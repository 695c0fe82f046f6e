"""Health, readiness, debug and echo."""

from __future__ import annotations

from datetime import datetime

import pytest

from gateway.config.structs import GatewaySettings, RouterSettings
from gateway.router.builtin import MAX_SHOWN_BYTES
from tests.watchdog import watched

from .support import Client, application, ask, endpoint, http_scope, telling

pytestmark = pytest.mark.anyio


async def test_health_has_krakends_shape() -> None:
    reply = await ask(application(ready=False), "GET", "/__health")
    document = reply.json()
    assert (reply.status, document["status"], document["agents"]) == (200, "ok", {})
    assert datetime.fromisoformat(document["now"]).tzinfo is not None
    assert set(reply.headers) == {"content-type", "content-length"}


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_readiness_decides_the_status(ready: bool, status: int) -> None:
    reply = await ask(application(ready=ready), "GET", "/__ready")
    assert (reply.status, reply.json()) == (status, {"ready": ready, "resources": []})


async def test_health_can_be_moved_and_switched_off() -> None:
    moved = application(
        router=RouterSettings(health_path="/alive"), gateway=GatewaySettings(ready_path="/ready")
    )
    assert (await ask(moved, "GET", "/alive")).status == 200
    assert (await ask(moved, "GET", "/ready")).status == 200
    assert (await ask(moved, "GET", "/__health")).status == 404
    off = application(router=RouterSettings(disable_health=True))
    assert (await ask(off, "GET", "/__health")).status == 404


async def test_health_answers_no_other_method() -> None:
    reply = await ask(application(), "POST", "/__health")
    assert (reply.status, reply.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/__debug/some"), ("GET", "/__debug/"), ("DELETE", "/__debug/x/y")],
)
async def test_debug_answers_every_method_where_it_is_switched_on(method: str, path: str) -> None:
    reply = await ask(application(debug_endpoint=True), method, path)
    assert (reply.status, reply.json()) == (200, {"message": "pong"})
    assert "x-krakend" not in reply.headers
    assert (await ask(application(), method, path)).status == 404


async def test_debug_without_its_slash_is_redirected() -> None:
    reply = await ask(application(debug_endpoint=True), "GET", "/__debug")
    assert (reply.status, reply.headers["location"]) == (301, "/__debug/")


async def test_echo_tells_the_request() -> None:
    app = application(endpoint("GET", "/plain", telling), echo_endpoint=True)
    client = Client([b"hello ", b"<world>"])
    headers = [
        (b"host", b"gateway.test"),
        (b"content-type", b"text/plain"),
        (b"x-one", b"a"),
        (b"x-one", b"b"),
    ]
    scope = http_scope("POST", "/__echo/a%20b%2Fc?x=1&y=2&x=3&z=", headers=headers)
    await app(scope, client.receive, client.send)
    assert client.reply.json() == {
        "req_uri": "/__echo/a%20b%2Fc?x=1&y=2&x=3&z=",
        "req_uri_details": {
            "user": "",
            "host": "gateway.test",
            "path": "/__echo/a b/c",
            "query": "x=1&x=3&y=2&z=",
            "fragment": "",
        },
        "req_method": "POST",
        "req_querystring": {"x": ["1", "3"], "y": ["2"], "z": [""]},
        "req_body": "hello <world>",
        "req_headers": {"Content-Type": ["text/plain"], "X-One": ["a", "b"]},
    }


@pytest.mark.parametrize("byte", [b"\xff", b"\x01", b"a"])
async def test_echo_shows_the_beginning_of_a_large_body(byte: bytes) -> None:
    app = application(gateway=GatewaySettings(max_body_bytes=2**24), echo_endpoint=True)
    body = byte * 2**24
    with watched(0.2):
        reply = await ask(app, "POST", "/__echo/", body)
    assert reply.json()["req_body"] == (byte * MAX_SHOWN_BYTES).decode(errors="replace")


async def test_echo_takes_no_body_beyond_the_limit() -> None:
    app = application(gateway=GatewaySettings(max_body_bytes=3), echo_endpoint=True)
    assert (await ask(app, "POST", "/__echo/", b"1234")).status == 413
