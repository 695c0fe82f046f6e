"""``security/bot-detector``: requests of bots, by their User-Agent, are refused with status 403.

On the service and on endpoints.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeAlias

from msgspec import Struct

from ..config.findings import Finding
from ..config.structs import Endpoint, Service
from ..core.asgi import AsgiResponse, Scope, find_header
from ..core.component import Assembly, Component, Place
from ..core.layers import Decision, Layer
from ..core.patterns import PatternError, bad_patterns, build_search
from ..core.proxy import Guard, Request
from ..core.rule import Rule, where_root_lacks
from ..errors import Refused

IsBot: TypeAlias = Callable[[bytes], bool]

USER_AGENT = b"user-agent"
FORBIDDEN = AsgiResponse(403, ())
MAX_CACHED_AGENT_BYTES = 1024
"""The longest User-Agent whose result is cached. A longer one is tested each time."""

BROWSERS = (
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/140.0.0.0 Safari/537.36"
    ),
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:140.0) Gecko/20100101 Firefox/140.0",
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
    ),
)
_LOOKS_LIKE_PATTERN = re.compile(r"\.\*|\\|^\^|\$$|\(\?")


class BotSettings(Struct, frozen=True, kw_only=True):
    deny: tuple[str, ...] = ()
    """Values of ``User-Agent`` that are bots. Each is compared with the whole header."""
    allow: tuple[str, ...] = ()
    """Values of ``User-Agent`` that are not bots, whatever ``deny`` and ``patterns`` say. Each is
    compared with the whole header."""
    patterns: tuple[str, ...] = ()
    """RE2 regular expressions that match bots, anywhere in the ``User-Agent``."""
    cache_size: int = 0
    """The number of User-Agents whose result is cached. 0: no cache."""
    empty_user_agent_is_bot: bool = False
    """Whether a request without ``User-Agent`` is refused."""


def verify_bots(settings: BotSettings) -> Iterator[tuple[str, str]]:
    """Invalid patterns. KrakenD logs them and lets every request pass."""
    yield from bad_patterns(settings.patterns, "patterns")


def build_bot_test(settings: BotSettings) -> IsBot:
    """A test whether a User-Agent is a bot's; it is empty when the header is missing.

    ``allow`` has precedence over ``deny``.
    """
    allowed = frozenset(each.encode() for each in settings.allow)
    denied = frozenset(each.encode() for each in settings.deny)
    searches = [build_search(pattern) for pattern in settings.patterns]

    def is_bot(user_agent: bytes) -> bool:
        if not user_agent:
            return settings.empty_user_agent_is_bot
        if user_agent in allowed:
            return False
        if user_agent in denied:
            return True
        text = user_agent.decode(errors="replace")
        return any(search(text) for search in searches)

    if settings.cache_size <= 0 or not searches:
        return is_bot
    cached = lru_cache(settings.cache_size)(is_bot)
    return lambda agent: cached(agent) if len(agent) <= MAX_CACHED_AGENT_BYTES else is_bot(agent)


def build_bot_layer(settings: BotSettings, service: Service, assembly: Assembly) -> Layer:
    """For all endpoints, and for paths without an endpoint."""
    is_bot = build_bot_test(settings)

    def decide(scope: Scope) -> Decision:
        return FORBIDDEN if is_bot(find_header(scope["headers"], USER_AGENT)) else None

    return Layer(decide)


def build_bot_guard(settings: BotSettings, endpoint: Endpoint, assembly: Assembly) -> Guard:
    """For one endpoint."""
    is_bot = build_bot_test(settings)

    def guard(request: Request) -> None:
        if is_bot(request.header(USER_AGENT) or b""):
            raise Refused(403, "bot rejected")

    return guard


def findings(settings: BotSettings, place: Place) -> Iterator[Finding]:
    return place.warnings(_traps(settings))


def _traps(settings: BotSettings) -> Iterator[tuple[str, str]]:
    for key, agents in (("deny", settings.deny), ("allow", settings.allow)):
        for index, agent in enumerate(agents):
            if _LOOKS_LIKE_PATTERN.search(agent):
                text = "is compared with the whole User-Agent, it is not used as a pattern"
                yield f"{key}[{index}]", text
    for index, pattern in enumerate(settings.patterns):
        try:
            search = build_search(pattern)
        except PatternError:  # an error of the start names it
            continue
        if any(search(browser) for browser in BROWSERS):
            text = 'matches anywhere, also ordinary browsers: let it begin with "^"'
            yield f"patterns[{index}]", text


COMPONENT = Component(
    "security/bot-detector",
    BotSettings,
    aliases=("github_com/devopsfaith/krakend-botdetector",),
    verify=verify_bots,
    guard=build_bot_guard,
    handler_layer=build_bot_layer,
    findings=findings,
    advice=(
        Rule(
            "3.1.1",
            "LOW",
            "Enable the bot detector (security/bot-detector).",
            where_root_lacks(BotSettings),
        ),
    ),
)
