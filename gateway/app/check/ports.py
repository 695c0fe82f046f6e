"""Findings on ports: each listener of a gateway needs a port of its own. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from ...config.findings import Finding, inner_path, key_path
from ...config.structs import Service
from ...core.component import Catalog, ListenAddress

EXTRA = "$.extra_config"
LOCALHOST = {"localhost": "127.0.0.1"}


def check_ports(service: Service, catalog: Catalog) -> Iterator[Finding]:
    """An error for each listener whose port another listener has, too. 0 is any free port."""
    before: list[ListenAddress] = []
    for each in _addresses(service, catalog):
        same = [one for one in before if one.port == each.port and _overlap(one.host, each.host)]
        if same and each.port:
            text = (
                f"expected a port of its own, found {each.port}, which {same[0].key} has, too: "
                "choose another port"
            )
            yield Finding(each.key, "error", text)
        before.append(each)


def _addresses(service: Service, catalog: Catalog) -> Iterator[ListenAddress]:
    """Of all listeners; their keys are JSON paths."""
    yield ListenAddress("$.port", service.listen_ip, service.port)
    management_port = service.gateway.management_port
    if management_port is not None:
        path = f"{EXTRA}.gateway.management_port"
        yield ListenAddress(path, service.listen_ip, management_port)
    for row in catalog:
        settings = service.extra_config.get(row.namespace)
        if settings is not None and row.addresses is not None:
            for each in row.addresses(settings, service):
                path = inner_path(key_path(EXTRA, row.namespace), each.key)
                yield ListenAddress(path, each.host, each.port)


def _overlap(host: str, other: str) -> bool:
    """Whether two listeners would have an address in common."""
    if not host or not other:
        return True
    try:
        one, two = (ip_address(LOCALHOST.get(each, each)) for each in (host, other))
    except ValueError:  # an error of its own
        return host == other
    is_every = one.is_unspecified or two.is_unspecified
    return one == two or (is_every and one.version == two.version)
