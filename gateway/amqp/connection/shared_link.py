"""The link of one role to the hosts of a backend. All backends with these hosts share it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from ...core.component import Assembly
from .link import Link
from .urls import BrokerUrl, parse_broker_url

L = TypeVar("L", bound=Link)


def share_link(
    role: str,
    hosts: Sequence[str],
    assembly: Assembly,
    make: Callable[[tuple[BrokerUrl, ...]], L],
) -> L:
    """The link for this role; the first call makes it.

    With ``shuffle`` its hosts have a random order, so that gateways connect to different ones.
    """
    urls = tuple(parse_broker_url(host) for host in hosts)

    def make_link() -> L:
        is_shuffled = assembly.service.gateway.shuffle
        return make(tuple(random.sample(urls, len(urls))) if is_shuffled else urls)

    return assembly.resource(
        ("amqp", role, tuple((url.aiormq, url.vhost) for url in urls)), make_link
    )
