"""What ``check`` reports about ``modifier/lua-*``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...config.findings import Finding
from ...core.component import Place
from .scripts import LuaSettings

MISSING_FUNCTIONS = re.compile(
    r"(?<![.:\w])(?:(?:io|debug|package|coroutine)\s*\."
    r"|(?:require|load|loadstring|dofile|loadfile|module|newproxy|[gs]etfenv|collectgarbage)"
    r"\s*[(\"'\[]"
    r"|string\s*\.\s*dump"
    r"|os\s*\.\s*(?:execute|exit|[gs]etenv|remove|rename|setlocale|tmpname))"
)
LIBRARIES = re.compile(r"(?<![.:\w])(?:string|math|os)\s*\.\s*\w+\s*\(")

WITHOUT_EFFECT_ON_PROXIES = re.compile(r":\s*((?:url|path|method)\s*\()\s*[^\s)]")
WITHOUT_EFFECT_ON_BACKENDS = re.compile(r":\s*(path\s*\()\s*[^\s)]")
"""A script may set these, but each backend sets them again afterwards, as in KrakenD."""
ALTERNATIVE = "use request:url(...) and request:method(...) of modifier/lua-backend"


def endpoint_findings(settings: LuaSettings, place: Place) -> Iterator[Finding]:
    """For ``modifier/lua-endpoint``."""
    if place.agent is not None:
        yield place.warning("has no effect: an agent has no HTTP request")
    if settings.post or settings.skip_next:
        yield place.warning("only pre and sources have an effect in this namespace")
    yield from _script_findings(settings, place)


def backend_findings(settings: LuaSettings, place: Place) -> Iterator[Finding]:
    """For ``modifier/lua-backend``."""
    yield from _script_findings(settings, place, WITHOUT_EFFECT_ON_BACKENDS)


def proxy_findings(settings: LuaSettings, place: Place) -> Iterator[Finding]:
    """For ``modifier/lua-proxy``."""
    yield from _script_findings(settings, place, WITHOUT_EFFECT_ON_PROXIES)


def _script_findings(
    settings: LuaSettings, place: Place, without_effect: re.Pattern[str] | None = None
) -> Iterator[Finding]:
    if settings.live and settings.md5:
        yield place.warning("md5 is not checked with live")
    code = f"{settings.pre}\n{settings.post}"
    for found in dict.fromkeys(MISSING_FUNCTIONS.findall(code)):
        text = f"{found.strip()}: not in the sandbox, the script fails there"
        yield place.warning(text)
    for found in dict.fromkeys(without_effect.findall(settings.pre) if without_effect else ()):
        yield place.warning(f":{found}...) has no effect here, as in KrakenD: {ALTERNATIVE}")
    if not settings.allow_open_libs and (library := LIBRARIES.search(code)):
        text = f"{library[0]}...: needs allow_open_libs"
        yield place.warning(text)
