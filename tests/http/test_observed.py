"""What an observer of requests hears, without a network."""

from __future__ import annotations

from time import perf_counter
from typing import Any, cast

from gateway.http.client import ClientRequest, HttpClient
from gateway.http.connection import HttpResponse
from gateway.http.observed import ObservedConnection, ObservedRequest, ObservingClient
from gateway.http.request_head import BackendRequest
from gateway.http.targets import Host, Origin

OUTGOING = BackendRequest("GET", Host(Origin("http", "a", 80, "a")), "/", (), b"")


class OneLoop:
    """A client whose two sides are one."""

    def __init__(self) -> None:
        self.started: list[ClientRequest] = []

    def start(self, request: ClientRequest) -> Any:
        self.started.append(request)
        return request.withdraw

    def deliver(self, request: ClientRequest, part: Any) -> None:
        request.arrived(part)


class Heard:
    """An observer that notes what it hears."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.body: tuple[int, float, bool] = (0, 0.0, False)

    def responded(self, request: ObservedRequest) -> None:
        self.calls.append("responded")

    def failed(self, request: ObservedRequest) -> None:
        self.calls.append("failed")

    def body_read(
        self, request: ObservedRequest, size: int, seconds: float, *, has_failed: bool
    ) -> None:
        self.calls.append("body_read")
        self.body = size, seconds, has_failed


class NoSocket:
    def write(self, data: bytes) -> None:
        """It goes nowhere."""

    def abort(self) -> None:
        """Nothing is open."""


def sent(heard: Heard, arrived: list[HttpResponse]) -> tuple[ObservedRequest, ObservedConnection]:
    client = OneLoop()
    sender = ObservingClient(cast(HttpClient, client), [heard])
    sender.send(OUTGOING, b"GET / HTTP/1.1\r\n\r\n", cast(Any, arrived.append))
    request = client.started[0]
    assert isinstance(request, ObservedRequest)
    return request, send_again(request)


def send_again(request: ObservedRequest) -> ObservedConnection:
    connection = ObservedConnection(lambda _: None, lambda _: None, 1000)
    connection.connection_made(cast(Any, NoSocket()))
    connection.send(request)
    return connection


def test_the_headers_have_their_own_time() -> None:
    heard, arrived = Heard(), list[HttpResponse]()
    request, connection = sent(heard, arrived)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    between = perf_counter()
    assert not heard.calls
    assert not arrived
    connection.data_received(b"cd")
    assert heard.calls == ["responded", "body_read"]
    size, seconds, has_failed = heard.body
    assert (size, has_failed) == (4, False)
    assert request.started <= request.connected <= request.has_headers <= between
    assert request.has_headers + seconds >= between
    assert [response.body for response in arrived] == [b"abcd"]


def test_a_response_that_becomes_too_large_has_failed_while_it_was_read() -> None:
    heard, arrived = Heard(), list[HttpResponse]()
    _, connection = sent(heard, arrived)
    chunk = b"%x\r\n%b\r\n" % (600, b"x" * 600)
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
    connection.data_received(chunk)
    assert heard.calls == ["responded", "body_read"]
    assert heard.body[::2] == (1200, True)


def test_the_headers_of_an_interim_response_are_not_those_of_the_response() -> None:
    heard = Heard()
    request, connection = sent(heard, [])
    connection.data_received(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    assert request.status == 0
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert request.status == 200


def test_a_withdrawn_request_is_reported_once() -> None:
    heard, arrived = Heard(), list[HttpResponse]()
    request, connection = sent(heard, arrived)
    cast(Any, request)._client.withdraw = lambda _: connection.drop()
    request.withdraw()
    request.withdraw()
    assert (heard.calls, arrived) == (["failed"], [])
    assert request.is_withdrawn
    assert not request.is_client_gone


def test_the_body_of_a_request_that_is_sent_again_has_its_own_time() -> None:
    heard = Heard()
    request, kept = sent(heard, [])
    cast(Any, kept._end())  # as when the backend closes a connection that it kept
    connection = send_again(request)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    cast(Any, request)._client.withdraw = lambda _: connection.drop()
    request.withdraw()
    assert heard.calls == ["responded", "body_read"]
    size, seconds, has_failed = heard.body
    assert (size, has_failed) == (2, True)
    assert seconds >= 0
