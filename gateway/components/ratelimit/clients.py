"""How a limit identifies a client: by address, header or parameter. Pure."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import TypeAlias

from ...config.go_names import parameter_of
from ...config.structs import Service
from ...core.forwarding import MAX_ADDRESS, build_client_address
from ...core.proxy import Request

NameClient: TypeAlias = Callable[[Request], str]
"""Empty: the request does not identify its client, and is refused as in KrakenD."""


IPV6_PREFIX = 64
"""Bits of an IPv6 address that identify a client: a provider gives one customer a whole /64."""

_EMBEDDED_IPV4_PREFIXES = (bytes(10) + b"\xff\xff", b"\x00\x64\xff\x9b" + bytes(8))
"""First bytes of IPv6 addresses that contain an IPv4 address: mapped ones and NAT64 (RFC 6052)."""


def build_name_client(
    strategy: str, key: str, service: Service, ipv6_prefix: int = IPV6_PREFIX
) -> NameClient | None:
    """None for an unknown strategy: clients then have no limit."""
    match strategy.lower():
        case "ip":
            return build_name_network(service, ipv6_prefix, key)
        case "header":
            return _header(key)
        case "param":
            return _parameter(key)
    return None


def build_name_network(
    service: Service, ipv6_prefix: int = IPV6_PREFIX, header: str = ""
) -> NameClient:
    """The address of a client, for IPv6 its network. ``header``: contains the address, which is
    then the first one of a list.
    """
    address = build_client_address(service)
    address_of = _forwarded_address(header, address) if header else address
    network = partial(network_name, ipv6_prefix=ipv6_prefix)
    return lambda request: network(address_of(request))


def network_name(address: str, ipv6_prefix: int = IPV6_PREFIX) -> str:
    """An IPv4 address as it is, an IPv6 address without the bits after its prefix."""
    if ":" not in address:
        return address
    try:
        packed = socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):  # it has a zone, or the server reports no address
        return address
    if packed[:12] in _EMBEDDED_IPV4_PREFIXES:
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    if ipv6_prefix == 128:
        return socket.inet_ntop(socket.AF_INET6, packed)
    kept = int.from_bytes(packed) >> (128 - ipv6_prefix) << (128 - ipv6_prefix)
    return f"{socket.inet_ntop(socket.AF_INET6, kept.to_bytes(16))}/{ipv6_prefix}"


def _header(name: str) -> NameClient:
    wanted = name.lower().encode()

    def name_client(request: Request) -> str:
        return (request.header(wanted) or b"").decode("latin-1")

    return name_client


def _parameter(name: str) -> NameClient:
    wanted = parameter_of(name)
    return lambda request: request.params.get(wanted, "")


def _forwarded_address(header: str, fallback: NameClient) -> NameClient:
    """The first address in a header; without a valid one that of ``fallback``."""
    header_of = _header(header)

    def name_client(request: Request) -> str:
        return _address(header_of(request).partition(",")[0].strip()) or fallback(request)

    return name_client


def _address(text: str) -> str:
    """The address without its port; empty if it is not valid."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    if len(text) > MAX_ADDRESS:
        return ""
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
