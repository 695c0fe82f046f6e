"""What a client of HTTP backends keeps of a request, without a backend."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, cast

import pytest

from gateway.http.client import HttpClient, Sending
from gateway.http.connection import Answer
from gateway.http.targets import Origin


class Client:
    def withdraw(self, sending: Sending) -> None:
        """It is not under way."""


class Waiting:
    def arrive(self, part: Any) -> None:
        """It knows the request, as who waits does."""


@pytest.mark.parametrize(
    "end", [Sending.withdraw, lambda sending: sending.arrived(Answer(200, [], b""))]
)
def test_who_waited_is_forgotten_at_the_end(end: Callable[[Sending], None]) -> None:
    origin = Origin("http", "a", 80, "a")
    waiting = Waiting()
    client = cast(HttpClient, Client())
    sending = Sending(client, origin, "GET", b"", b"", waiting.arrive, ())
    known = weakref.ref(waiting)
    del waiting
    assert known() is not None
    end(sending)
    assert known() is None
