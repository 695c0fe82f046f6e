"""SRV records: what they mean, and a name server on a real socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress

import dns.message
import dns.rcode
import dns.rrset
import pytest
from anyio import sleep
from dns.asyncresolver import Resolver

from gateway.core.bridge import open_asyncio_side
from gateway.errors import BackendFailure
from gateway.http.discovery import Discovery, Record, weighted


@pytest.mark.parametrize(
    ("records", "addresses"),
    [
        ([], []),
        ([Record(1, 1, "b", 2), Record(1, 1, "a", 1)], ["a:1", "b:2"]),
        ([Record(2, 9, "b", 2), Record(1, 1, "a", 1)], ["a:1"]),
        ([Record(1, 10, "a", 1), Record(1, 20, "b", 2)], ["b:2", "b:2", "a:1"]),
        ([Record(1, 0, "a", 1), Record(1, 0, "b", 2)], ["a:1", "b:2"]),
        ([Record(1, 5, "a", 1), Record(1, 0, "b", 2)], ["a:1"]),
    ],
)
def test_weights(records: list[Record], addresses: list[str]) -> None:
    assert weighted(records) == addresses


def test_many_heavy_hosts_stay_few_entries() -> None:
    records = [Record(1, 30_000 + number, f"h{number}", 80) for number in range(7)]
    assert len(weighted(records)) <= 100


class NameServer:
    """Answers SRV questions with ``records``; None: that it failed."""

    def __init__(self) -> None:
        self.records: list[str] | None = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.resolver = Resolver(configure=False)
        self.resolver.nameservers = ["127.0.0.1"]
        self.resolver.port = self.socket.getsockname()[1]
        self.resolver.lifetime = 0.3

    def run(self) -> None:
        with suppress(OSError):
            while True:
                data, client = self.socket.recvfrom(4096)
                question = dns.message.from_wire(data)
                answer = dns.message.make_response(question)
                if self.records is None:
                    answer.set_rcode(dns.rcode.SERVFAIL)
                elif self.records:
                    name = question.question[0].name
                    answer.answer.append(dns.rrset.from_text(name, 1, "IN", "SRV", *self.records))
                self.socket.sendto(answer.to_wire(), client)


@pytest.fixture
def names() -> Generator[NameServer]:
    with naming() as server:
        yield server


@contextmanager
def naming() -> Generator[NameServer]:
    server = NameServer()
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server
    server.socket.close()


@asynccontextmanager
async def discovering(
    names: NameServer, scheme: str = "http", ttl: float = 30
) -> AsyncGenerator[Discovery]:
    async with open_asyncio_side() as side:
        discovery = Discovery(side, "_http._tcp.example", scheme, ttl, names.resolver)
        async with discovery.opened():
            yield discovery


@pytest.mark.anyio
async def test_hosts_come_from_the_records_in_turn(names: NameServer) -> None:
    names.records = ["1 1 8080 one.example.", "1 1 8081 two.example."]
    async with discovering(names, "https") as discovery:
        shown = [discovery.next_host().show("/") for _ in range(3)]
    assert shown == [
        "https://one.example:8080/",
        "https://two.example:8081/",
        "https://one.example:8080/",
    ]
    assert discovery.readiness()["ready"]


@pytest.mark.anyio
async def test_a_look_that_fails_leaves_what_is_known(names: NameServer) -> None:
    names.records = ["1 1 8080 one.example."]
    async with discovering(names, ttl=1) as discovery:
        names.records = None
        while not discovery.readiness()["problem"]:
            await sleep(0.02)
        assert discovery.next_host().origin.host == "one.example"


@pytest.mark.anyio
async def test_without_records_there_is_no_host(names: NameServer) -> None:
    async with discovering(names) as discovery:
        with pytest.raises(BackendFailure, match="no hosts available"):
            discovery.next_host()
    assert not discovery.readiness()["ready"]
