"""``proxy``: how the backends of an endpoint work together, as frozen Structs.

They are not in ``components/`` because the loader, the encodings and the pipe read them, too.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from .structs import Backend, Endpoint, Seconds

NAMESPACE = "proxy"


class FlatmapOperation(Struct, frozen=True, kw_only=True):
    """One step of ``flatmap_filter``."""

    type: str = ""
    """"move", "append" or "del". A step of any other type has no effect."""
    args: tuple[str, ...] = ()
    """Dotted paths, in which "*" is any key or index. "move" and "append": from the first to the
    second path. "del": all of them."""


class StaticSettings(Struct, frozen=True, kw_only=True):
    """``static``: data that is added to the response."""

    data: dict[str, Any] | None = None
    """The keys to add. They replace keys of the response."""
    strategy: str = "always"
    """When the data is added: "always", "success" (no backend failed), "errored" (one failed),
    "complete" (every backend responded) or "incomplete". Any other value means "always"."""


class ProxySettings(Struct, frozen=True, kw_only=True):
    """``proxy`` on endpoints, agents and backends. A backend has ``shadow``, ``shadow_timeout`` and
    ``flatmap_filter`` only."""

    sequential: bool = False
    """Call the backends one after another. A backend can use values of the responses before it:
    ``{resp0_customer.id}``."""
    sequential_propagated_params: tuple[str, ...] = ()
    """Further values of earlier responses for later backends, such as "resp0_customer.id"."""
    flatmap_filter: tuple[FlatmapOperation, ...] = ()
    """Steps that move, append and delete values. Of a backend they replace allow, deny and mapping.
    Of an endpoint they need several backends."""
    static: StaticSettings | None = None
    """Data that is added to the response of an endpoint."""
    combiner: str = "default"
    """Only "default" exists. Any other value means the same."""
    shadow: bool = False
    """The backend gets a copy of each request, and its response is ignored."""
    shadow_timeout: Seconds | None = None
    """The longest time for a shadow. Absent: the timeout of the endpoint. All shadows of an
    endpoint have the longest of their times."""


DEFAULT = ProxySettings()


def proxy_settings(part: Endpoint | Backend) -> ProxySettings:
    """The settings under ``proxy`` of an endpoint or a backend, by default those without it."""
    settings: ProxySettings = part.extra_config.get(NAMESPACE, DEFAULT)
    return settings
