"""``proxy``: how the backends of an endpoint work together, as frozen Structs.

They stand apart because pure modules and the pipe read them.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from .structs import Backend, Endpoint, Seconds

NAMESPACE = "proxy"


class FlatmapOperation(Struct, frozen=True, kw_only=True):
    """One step of ``flatmap_filter``: "move", "append" or "del", and its dotted paths."""

    type: str = ""
    args: tuple[str, ...] = ()


class StaticSettings(Struct, frozen=True, kw_only=True):
    """``static``: ``data`` is put over the answer when ``strategy`` says so."""

    data: dict[str, Any] | None = None
    strategy: str = "always"


class ProxySettings(Struct, frozen=True, kw_only=True):
    """``proxy`` on endpoints, agents and backends (there: ``shadow`` and ``flatmap_filter``)."""

    sequential: bool = False
    sequential_propagated_params: tuple[str, ...] = ()
    flatmap_filter: tuple[FlatmapOperation, ...] = ()
    static: StaticSettings | None = None
    combiner: str = "default"
    shadow: bool = False
    shadow_timeout: Seconds | None = None


DEFAULT = ProxySettings()


def proxy_settings(part: Endpoint | Backend) -> ProxySettings:
    """What a part of the configuration says under ``proxy``; the defaults when nothing."""
    settings: ProxySettings = part.extra_config.get(NAMESPACE, DEFAULT)
    return settings
