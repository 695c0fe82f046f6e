"""Who asks: the name of a client, by the strategy of a limit. Pure."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import TypeAlias

from ..config.structs import Service
from ..forwarding import build_client_address
from ..proxy import Request

NameClient: TypeAlias = Callable[[Request], str]
"""Empty: the request does not say who asks, and is refused (KrakenD)."""


def build_name_client(strategy: str, key: str, service: Service) -> NameClient | None:
    """None for a strategy that does not exist: there is no limit for clients then."""
    match strategy.lower():
        case "ip":
            address = build_client_address(service)
            return _told_address(key, address) if key else address
        case "header":
            return _header(key)
        case "param":
            return _parameter(key)
    return None


def _header(name: str) -> NameClient:
    wanted = name.lower().encode()

    def name_client(request: Request) -> str:
        return (request.header(wanted) or b"").decode("latin-1")

    return name_client


def _parameter(name: str) -> NameClient:
    wanted = name[:1].upper() + name[1:]
    return lambda request: request.params.get(wanted, "")


def _told_address(header: str, otherwise: NameClient) -> NameClient:
    """The first address in a header, as long as it is one."""
    told = _header(header)

    def name_client(request: Request) -> str:
        return _address(told(request).partition(",")[0].strip()) or otherwise(request)

    return name_client


def _address(text: str) -> str:
    """An address that may have a port; empty when it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
