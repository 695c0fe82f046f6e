"""The order of the layers (recorded: combined.json, security_http.json)."""

from __future__ import annotations

import pytest

from .layers import layered

pytestmark = pytest.mark.anyio

CORS = {"security/cors": {"allow_origins": ["https://shop.test"]}}
SECURE = {"security/http": {"frame_deny": True}}
BOTS = {"security/bot-detector": {"deny": ["badbot"]}}
ORIGIN = {"origin": "https://shop.test"}
BOT = {"user-agent": "badbot"}


async def test_redirects_and_health_are_inside_cors_and_outside_the_other_layers() -> None:
    async with layered({**CORS, **SECURE, **BOTS}) as ask:
        redirected = await ask("GET /shop/", ORIGIN | BOT)
        health = await ask("GET /__health", ORIGIN | BOT)
    assert (redirected.status, health.status) == (301, 200)
    for reply in (redirected, health):
        assert reply.headers["access-control-allow-origin"] == "https://shop.test"
        assert "x-frame-options" not in reply.headers


@pytest.mark.parametrize("target", ["GET /shop", "GET /nope", "POST /shop", "GET /__debug/x"])
async def test_bots_are_refused_everywhere_else_inside_the_secure_headers(target: str) -> None:
    async with layered({**SECURE, **BOTS}) as ask:
        refused = await ask(target, BOT)
        passed = await ask(target, {"user-agent": "other"})
    assert refused.status == 403
    assert refused.headers == {"x-frame-options": "DENY", "content-length": "0"}
    assert passed.status != 403
    assert passed.headers["x-frame-options"] == "DENY"


async def test_the_host_is_checked_before_the_bot() -> None:
    async with layered({"security/http": {"allowed_hosts": ["a.test"]}, **BOTS}) as ask:
        assert (await ask("GET /shop", BOT)).body == b"Bad Host\n"


async def test_a_bad_parameter_is_refused_outside_the_secure_headers() -> None:
    async with layered(SECURE, "/a/{id}") as ask:
        reply = await ask("GET /a/%3F")
    assert reply.status == 400
    assert "x-frame-options" not in reply.headers
