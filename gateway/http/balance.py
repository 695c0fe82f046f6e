"""Which of several hosts is asked next."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle

from ..errors import BackendFailure
from .targets import Host, parse_host

NextHost = Callable[[], Host]


def build_next_host(hosts: Sequence[str]) -> NextHost:
    """One after the other; several processes do not all begin with the same one.

    An entry that is no host of HTTP is left out. The function raises :class:`BackendFailure` when
    there is none.
    """
    usable = list(usable_hosts(hosts))
    if not usable:
        return _no_host
    if len(usable) == 1:
        return lambda: usable[0]
    start = random.randrange(len(usable))  # noqa: S311
    return cycle([*usable[start:], *usable[:start]]).__next__


def usable_hosts(hosts: Sequence[str]) -> Iterator[Host]:
    """Those that are hosts of HTTP."""
    for host in hosts:
        try:
            yield parse_host(host)
        except ValueError:  # reported when the configuration was read
            continue


def _no_host() -> Host:
    raise BackendFailure("no hosts available")
