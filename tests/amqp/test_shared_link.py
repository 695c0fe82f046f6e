"""Backends with the same brokers share a link; ``shuffle`` gives its hosts a random order."""

from __future__ import annotations

from typing import cast

from gateway.amqp.connection.link import Link
from gateway.amqp.connection.shared_link import share_link
from gateway.config.structs import GatewaySettings, Service
from gateway.core.bridge import AsyncioSide
from gateway.core.component import Assembly, Catalog

HOSTS = ["amqp://a/", "amqp://b/", "amqp://c/"]
SIDE = cast(AsyncioSide, None)


def assembly(*, shuffle: bool) -> Assembly:
    service = Service(extra_config={"gateway": GatewaySettings(shuffle=shuffle)})
    return Assembly(service, Catalog(), SIDE)


def share(assembly: Assembly, role: str = "consume") -> Link:
    return share_link(role, HOSTS, assembly, lambda urls: Link(urls, role, SIDE))


def hosts_of(link: Link) -> tuple[str | None, ...]:
    return tuple(url.aiormq.host for url in link.urls)


def test_hosts_keep_the_order_of_the_file() -> None:
    assert hosts_of(share(assembly(shuffle=False))) == ("a", "b", "c")


def test_with_shuffle_processes_begin_with_different_hosts() -> None:
    orders = [hosts_of(share(assembly(shuffle=True))) for _ in range(200)]
    assert all(sorted(map(str, order)) == ["a", "b", "c"] for order in orders)
    assert {order[0] for order in orders} == {"a", "b", "c"}


def test_with_shuffle_the_links_of_a_process_have_their_own_orders() -> None:
    processes = [assembly(shuffle=True) for _ in range(200)]
    assert any(
        hosts_of(share(process)) != hosts_of(share(process, "publish")) for process in processes
    )


def test_with_shuffle_backends_still_share_a_link() -> None:
    process = assembly(shuffle=True)
    assert share(process) is share(process)
