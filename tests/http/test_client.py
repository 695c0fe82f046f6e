"""What a client of HTTP backends keeps of a request, without a backend."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any, cast

import pytest

from gateway.http.client import ClientRequest, HttpClient
from gateway.http.connection import HttpResponse
from gateway.http.targets import Origin


class Client:
    """``delivered``: the answers."""

    def __init__(self) -> None:
        self.delivered: list[HttpResponse] = []

    def deliver(self, request: ClientRequest, part: HttpResponse) -> None:
        self.delivered.append(part)

    def post(self, func: Callable[..., object], *args: Any) -> None:
        func(*args)

    def withdraw(self, request: ClientRequest) -> None:
        """It is not under way."""


ORIGIN = Origin("http", "a", 80, "a")


class Waiting:
    def arrive(self, part: Any) -> None:
        """It knows the request, as who waits does."""


@pytest.mark.parametrize(
    "end", [ClientRequest.withdraw, lambda request: request.arrived(HttpResponse(200, [], b""))]
)
def test_a_request_keeps_no_reference_to_its_callback_at_the_end(
    end: Callable[[ClientRequest], None],
) -> None:
    waiting = Waiting()
    client = cast(HttpClient, Client())
    request = ClientRequest(client, ORIGIN, "GET", b"", b"", waiting.arrive, ())
    known = weakref.ref(waiting)
    del waiting
    assert known() is not None
    end(request)
    assert known() is None


def test_a_stream_that_has_ended_leaves_nothing_to_the_garbage_collector() -> None:
    client = Client()
    request = ClientRequest(cast(HttpClient, client), ORIGIN, "GET", b"", b"", print, {200})
    gc.disable()
    try:
        request.began(HttpResponse(200, [], b""))
        stream = client.delivered.pop().stream
        assert stream is not None
        request.ended(None)
        known = weakref.ref(stream)
        del stream, request
        assert known() is None
    finally:
        gc.enable()
