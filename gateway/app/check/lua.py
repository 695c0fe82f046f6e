"""Traps of ``modifier/lua-*``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...components.lua.scripts import LuaSettings
from ...config.findings import Finding

PREFIX = "modifier/lua-"
NOT_THERE = re.compile(
    r"(?<![.:\w])(?:(?:io|debug|package|coroutine)\s*\."
    r"|(?:require|load|loadstring|dofile|loadfile|module|newproxy|[gs]etfenv|collectgarbage)"
    r"\s*[(\"'\[]"
    r"|string\s*\.\s*dump"
    r"|os\s*\.\s*(?:execute|exit|[gs]etenv|remove|rename|setlocale|tmpname))"
)
LIBRARIES = re.compile(r"(?<![.:\w])(?:string|math|os)\s*\.\s*\w+\s*\(")

WITHOUT_EFFECT: Mapping[str, re.Pattern[str]] = {
    "modifier/lua-proxy": re.compile(r":\s*((?:url|path|method)\s*\()\s*[^\s)]"),
    "modifier/lua-backend": re.compile(r":\s*(path\s*\()\s*[^\s)]"),
}
"""What a script may set, and each backend makes anew afterwards, as in KrakenD."""
INSTEAD = "use request:url(...) and request:method(...) of modifier/lua-backend"


def check_lua(extra: Mapping[str, Any], path: str, *, is_agent: bool = False) -> Iterator[Finding]:
    """Remarks on the scripts of one level; ``path``: of what has that ``extra_config``."""
    for namespace, settings in extra.items():
        if namespace.startswith(PREFIX) and isinstance(settings, LuaSettings):
            where = f'{path}.extra_config["{namespace}"]'
            for text in _remarks(settings, namespace, is_agent=is_agent):
                yield Finding(where, "warning", text)
            if settings.max_instructions != LuaSettings().max_instructions:
                yield Finding(where, "hint", "only this gateway knows: max_instructions")


def _remarks(settings: LuaSettings, namespace: str, *, is_agent: bool) -> Iterator[str]:
    is_endpoint = namespace == "modifier/lua-endpoint"
    if is_endpoint and is_agent:
        yield "without effect: an agent has no HTTP request"
    if is_endpoint and (settings.post or settings.skip_next):
        yield "only pre and sources have an effect here"
    if settings.live and settings.md5:
        yield "live: the sums are not looked at"
    code = f"{settings.pre}\n{settings.post}"
    for found in dict.fromkeys(NOT_THERE.findall(code)):
        yield f"{found.strip()}: no such thing is in the sandbox, the script fails there"
    if namespace in WITHOUT_EFFECT:
        for found in dict.fromkeys(WITHOUT_EFFECT[namespace].findall(settings.pre)):
            yield f":{found}...) has no effect here, as in KrakenD: {INSTEAD}"
    if not settings.allow_open_libs and (found := LIBRARIES.search(code)):
        yield f"{found[0]}...: such libraries are there with allow_open_libs alone"
