"""``security/bot-detector``: who is refused for its User-Agent, on the service and on endpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeAlias

from msgspec import Struct

from ..config.structs import Endpoint, Service
from ..core.asgi import Answer, Handler, Receive, Scope, Send, header, send_answer
from ..core.component import Assembly
from ..core.patterns import bad_patterns, build_search
from ..core.proxy import Guard, Request
from ..errors import Refused

IsBot: TypeAlias = Callable[[bytes], bool]

USER_AGENT = b"user-agent"
FORBIDDEN = Answer(403, ())
LONGEST_KEPT = 1024
"""Bytes of a User-Agent whose verdict is kept; a longer one is looked at anew each time."""


class BotSettings(Struct, frozen=True, kw_only=True):
    """``deny``, ``allow``: whole texts; ``patterns``: matched anywhere. ``cache_size``: verdicts
    that are kept, 0: none."""

    deny: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    cache_size: int = 0
    empty_user_agent_is_bot: bool = False


def verify_bots(settings: BotSettings) -> Iterator[tuple[str, str]]:
    """KrakenD logs a pattern that is none, and lets everybody pass."""
    yield from bad_patterns(settings.patterns, "patterns")


def build_bot_test(settings: BotSettings) -> IsBot:
    """Whether a User-Agent, empty when there is none, is a bot's. Allowed goes before denied."""
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
    kept = lru_cache(settings.cache_size)(is_bot)
    return lambda agent: kept(agent) if len(agent) <= LONGEST_KEPT else is_bot(agent)


def build_bot_layer(
    settings: BotSettings, service: Service, assembly: Assembly
) -> Callable[[Handler], Handler]:
    """For all endpoints, and for paths that are none."""
    is_bot = build_bot_test(settings)

    def layer(handler: Handler) -> Handler:
        async def bots_refused(
            scope: Scope, receive: Receive, send: Send, params: dict[str, str]
        ) -> None:
            if is_bot(header(scope["headers"], USER_AGENT)):
                await send_answer(send, FORBIDDEN)
            else:
                await handler(scope, receive, send, params)

        return bots_refused

    return layer


def build_bot_guard(settings: BotSettings, endpoint: Endpoint, assembly: Assembly) -> Guard:
    """For one endpoint."""
    is_bot = build_bot_test(settings)

    def guard(request: Request) -> None:
        if is_bot(request.header(USER_AGENT) or b""):
            raise Refused(403, "bot rejected")

    return guard
