"""A network with a round trip, or a skipped test."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager

import pytest

from bench.network import Network, NoNetwork, open_network


@contextmanager
def delayed_network(round_trip: float) -> Generator[Network]:
    """:func:`bench.network.open_network`; the test is skipped where that is not possible."""
    with ExitStack() as stack:
        try:
            network = stack.enter_context(open_network(round_trip))
        except NoNetwork as reason:
            pytest.skip(f"no network with a round trip: {reason}")
        yield network
