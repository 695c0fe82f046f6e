"""Which of several hosts is called next."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle

from ..errors import BackendFailure
from .targets import Host, parse_host

NextHost = Callable[[], Host]


def build_next_host(hosts: Sequence[str]) -> NextHost:
    """The hosts in turn. They begin with a random one, so that processes begin with different ones.

    An entry that is not a host of HTTP is left out. The function that is returned raises
    :class:`BackendFailure` when there is no host.
    """
    usable = list(usable_hosts(hosts))
    if not usable:
        return _no_host
    if len(usable) == 1:
        return lambda: usable[0]
    start = random.randrange(len(usable))  # noqa: S311
    return cycle([*usable[start:], *usable[:start]]).__next__


def usable_hosts(hosts: Sequence[str]) -> Iterator[Host]:
    """The entries that are hosts of HTTP."""
    for host in hosts:
        try:
            yield parse_host(host)
        except ValueError:  # reported when the configuration was read
            continue


def _no_host() -> Host:
    raise BackendFailure("no hosts available")
