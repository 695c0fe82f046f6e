"""Which User-Agents are bots."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import ConfigError, open_gateway
from gateway.components.bots import MAX_CACHED_AGENT_BYTES, BotSettings, build_bot_test

from .layers import BACKEND, GatewayClient

SETTINGS = BotSettings(
    deny=("exact/1", "both"),
    allow=("good-crawler", "both"),
    patterns=("(?i)crawler", "^spider", r"\bq\pL\z"),
)


@pytest.mark.parametrize("cache_size", [0, 2, -1])
def test_allow_has_precedence_over_deny_and_deny_over_patterns(cache_size: int) -> None:
    settings = BotSettings(
        deny=SETTINGS.deny, allow=SETTINGS.allow, patterns=SETTINGS.patterns, cache_size=cache_size
    )
    is_bot = build_bot_test(settings)
    verdicts = {
        b"exact/1": True,
        b"exact/10": False,
        b"both": False,
        b"good-crawler": False,
        b"My-CRAWLER": True,
        b"a spider": False,
        b"spider": True,
        "a qé".encode(): True,
        b"": False,
        b"x" * MAX_CACHED_AGENT_BYTES + b"crawler": True,
    }
    for _ in range(2):
        assert {agent: is_bot(agent) for agent in verdicts} == verdicts


def test_a_missing_user_agent_is_a_bot_where_it_is_configured() -> None:
    assert build_bot_test(BotSettings(empty_user_agent_is_bot=True))(b"")


@given(st.binary(max_size=200))
def test_any_user_agent_can_be_tested(agent: bytes) -> None:
    assert build_bot_test(SETTINGS)(agent) in (True, False)


def test_no_pattern_is_expensive() -> None:
    is_bot = build_bot_test(BotSettings(patterns=(r"^(\w+\s?)+$", "(a*)*b")))
    assert not is_bot(b"a" * 100_000 + b"!")


@pytest.mark.anyio
@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "(?<=a)b", "[z-a]"])
async def test_an_invalid_pattern_stops_the_start_with_its_path(pattern: str) -> None:
    settings = {"patterns": ["fine", pattern]}
    endpoint = {"backend": [BACKEND], "extra_config": {"security/bot-detector": settings}}
    with pytest.raises(ConfigError) as error:
        async with open_gateway({"version": 3, "endpoints": [endpoint]}):
            pass
    (finding,) = [each for each in error.value.findings if each.severity == "error"]
    where = '$.endpoints[0].extra_config["security/bot-detector"].patterns[1]'
    assert (finding.severity, finding.path) == ("error", where)


@pytest.mark.anyio
async def test_a_single_endpoint_may_refuse_bots() -> None:
    guarded = {"security/bot-detector": {"deny": ["b"]}}
    config = {
        "version": 3,
        "endpoints": [
            {"endpoint": "/a", "backend": [BACKEND], "extra_config": guarded},
            {"endpoint": "/b", "backend": [BACKEND]},
        ],
    }
    async with open_gateway(config) as gateway:
        ask = GatewayClient(gateway)
        refused = await ask("GET /a", {"user-agent": "b"})
        assert (refused.status, refused.body, refused.headers) == (
            403,
            b"",
            {"content-length": "0"},
        )
        assert (await ask("GET /a", {"user-agent": "c"})).status == 500
        assert (await ask("GET /b", {"user-agent": "b"})).status == 500


@pytest.mark.anyio
async def test_legacy_names_are_known() -> None:
    async with open_gateway(
        {
            "version": 3,
            "debug_endpoint": True,
            "extra_config": {
                "github_com/devopsfaith/krakend-botdetector": {"deny": ["b"]},
                "github_com/devopsfaith/krakend-httpsecure": {"frame_deny": True},
                "github_com/devopsfaith/krakend-cors": {},
            },
        }
    ) as gateway:
        reply = await GatewayClient(gateway)("GET /__debug/", {"user-agent": "b"})
    assert reply.status == 403
    assert {"vary", "x-frame-options"} <= reply.headers.keys()
