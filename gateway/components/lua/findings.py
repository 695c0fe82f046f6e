"""Traps of ``modifier/lua-*``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...config.findings import Finding
from ...core.component import Place
from .scripts import LuaSettings

NOT_THERE = re.compile(
    r"(?<![.:\w])(?:(?:io|debug|package|coroutine)\s*\."
    r"|(?:require|load|loadstring|dofile|loadfile|module|newproxy|[gs]etfenv|collectgarbage)"
    r"\s*[(\"'\[]"
    r"|string\s*\.\s*dump"
    r"|os\s*\.\s*(?:execute|exit|[gs]etenv|remove|rename|setlocale|tmpname))"
)
LIBRARIES = re.compile(r"(?<![.:\w])(?:string|math|os)\s*\.\s*\w+\s*\(")

WITHOUT_EFFECT_ON_PROXIES = re.compile(r":\s*((?:url|path|method)\s*\()\s*[^\s)]")
WITHOUT_EFFECT_ON_BACKENDS = re.compile(r":\s*(path\s*\()\s*[^\s)]")
"""What a script may set, and each backend makes anew afterwards, as in KrakenD."""
INSTEAD = "use request:url(...) and request:method(...) of modifier/lua-backend"


def endpoint_findings(settings: LuaSettings, place: Place) -> Iterator[Finding]:
    """Of ``modifier/lua-endpoint``."""
    if place.agent is not None:
        yield place.warning("without effect: an agent has no HTTP request")
    if settings.post or settings.skip_next:
        yield place.warning("only pre and sources have an effect here")
    yield from _traps(settings, place)


def backend_findings(settings: LuaSettings, place: Place) -> Iterator[Finding]:
    """Of ``modifier/lua-backend``."""
    yield from _traps(settings, place, WITHOUT_EFFECT_ON_BACKENDS)


def proxy_findings(settings: LuaSettings, place: Place) -> Iterator[Finding]:
    """Of ``modifier/lua-proxy``."""
    yield from _traps(settings, place, WITHOUT_EFFECT_ON_PROXIES)


def _traps(
    settings: LuaSettings, place: Place, without_effect: re.Pattern[str] | None = None
) -> Iterator[Finding]:
    if settings.live and settings.md5:
        yield place.warning("live: the sums are not looked at")
    code = f"{settings.pre}\n{settings.post}"
    for found in dict.fromkeys(NOT_THERE.findall(code)):
        text = f"{found.strip()}: no such thing is in the sandbox, the script fails there"
        yield place.warning(text)
    for found in dict.fromkeys(without_effect.findall(settings.pre) if without_effect else ()):
        yield place.warning(f":{found}...) has no effect here, as in KrakenD: {INSTEAD}")
    if not settings.allow_open_libs and (library := LIBRARIES.search(code)):
        text = f"{library[0]}...: such libraries are there with allow_open_libs alone"
        yield place.warning(text)
