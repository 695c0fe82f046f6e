"""A soak test finds what is lost and what is answered falsely, and it can be run."""

from __future__ import annotations

import asyncio
import random
import socket
from pathlib import Path

import pytest

from bench.faults import unread
from bench.messages import first_number
from bench.process import GatewayProcess
from bench.soak.accounts import CLIENT_LEFT, Account, place_of
from bench.soak.clients import Target, parse
from bench.soak.flows import all_flows
from bench.soak.load import Load
from bench.soak.report import Report
from bench.soak.run import Plan, soak
from bench.soak.timeline import NO_CAUSE, FaultEvent, Timeline
from bench.soak.watch import Watch
from gateway.demo.broker import Broker

from .fake import serving

FLOWS = all_flows()
PUBLISHED, CONSUMED = (
    next(flow.series for flow in FLOWS if flow.name == name) for name in ("published", "consumed")
)


def new_report(folder: Path, port: int = 1) -> Report:
    timeline = Timeline()
    accounts = [Account(flow.queue, timeline.cause) for flow in FLOWS]
    load = Load([Target(port)], FLOWS, accounts, timeline.now, random.Random(1))
    watch = Watch(GatewayProcess({}, folder), [(0.0, 50.0)])
    return Report(FLOWS, accounts, load, timeline, watch, [])


def test_a_confirmed_message_that_did_not_arrive_is_lost(tmp_path: Path) -> None:
    report = new_report(tmp_path)
    account = report.accounts[CONSUMED]
    numbers = [account.add(1.0) for _ in range(5)]
    for number in numbers[:4]:
        account.confirm(number)
    account.receive(0, 2.0)
    account.find(1, 3.0)
    assert account.missing == [2, 3]
    assert (len(account), account.confirmed, account.received, account.remaining) == (5, 4, 2, 1)
    assert (report.lost, report.false_200, report.is_good) == (2, 0, False)
    assert "missing of consumed-classic, and when published: 2 (1.0 s), 3 (1.0 s)" in "\n".join(
        report.lines()
    )
    account.find(2, 4.0)
    account.find(3, 4.0)
    assert report.is_good


def test_a_200_whose_message_the_broker_does_not_have_is_found(tmp_path: Path) -> None:
    """A server that responds with 200 to everything, and publishes nothing."""

    async def run() -> Report:
        async with serving(lambda number: 0.0, lambda number: b"{}") as port:
            report = new_report(tmp_path, port)
            stop = asyncio.Event()
            asyncio.get_running_loop().call_later(0.3, stop.set)
            await report.load.run(300, stop)
            return report

    report = asyncio.run(run())
    published = report.load.statuses["publish"]
    assert published["200"] > 0
    assert report.false_200 == published["200"]
    assert not report.is_good


def test_a_duplicate_has_the_fault_that_explains_it() -> None:
    timeline = Timeline()
    timeline.events = [FaultEvent("kill", 10.0, 12.0), FaultEvent("close", 20.0)]
    account = Account("queue", timeline.cause)
    for seconds in (5.0, 9.5, 13.0, 25.0):
        number = account.add(0.0)
        account.receive(number, seconds)
        account.receive(number, 30.0)
    number = account.add(0.0)
    account.receive(number, 5.0, is_leaving=True)
    account.find(number, 40.0)
    assert account.duplicates == {NO_CAUSE: 1, "kill": 2, "close": 1, CLIENT_LEFT: 1}


def test_a_published_message_was_duplicated_when_it_was_confirmed_and_not_when_it_was_read() -> (
    None
):
    timeline = Timeline()
    timeline.events = [FaultEvent("kill", 10.0, 12.0)]
    account = Account("queue", timeline.cause)
    number = account.add(9.0)
    account.confirm(number, 11.0)
    for seconds in (50.0, 51.0):
        account.receive(number, seconds)
    assert account.duplicates == {"kill": 1}


def test_a_copy_that_a_reader_reads_again_is_no_duplicate() -> None:
    account = Account("queue", Timeline().cause)
    number = account.add(0.0)
    account.receive(number, 1.0, is_read_again=True)
    account.receive(number, 2.0, is_read_again=True)
    assert not account.duplicates
    assert account.received == 1


def test_a_number_that_does_not_exist_is_a_problem(tmp_path: Path) -> None:
    report = new_report(tmp_path)
    report.accounts[0].receive(7, 1.0)
    assert not report.is_good


def test_numbers_belong_to_the_account_of_their_flow() -> None:
    for flow in FLOWS:
        assert place_of(first_number(flow.series) + 12) == (flow.series, 12)


def test_a_response_is_complete_with_its_last_byte() -> None:
    headers = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"
    for size in range(len(headers) + 4):
        assert parse((headers + b"body")[:size]) is None
    response = parse(headers + b"body")
    assert response is not None
    assert (response.status, response.body, response.is_kept) == (200, b"body", False)


@pytest.mark.parametrize("is_complete", [True, False])
def test_what_the_kernel_of_a_leaving_client_has_counts_and_nothing_after_it(
    is_complete: bool,
) -> None:
    sent = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{" + b"}" * is_complete
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            connection, _ = server.accept()
            with connection:
                connection.sendall(sent)
                while len(client.recv(100, socket.MSG_PEEK)) < len(sent):
                    pass
                assert (parse(unread(client)) is not None) == is_complete
                with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
                    while True:  # the first of these bytes causes a reset
                        connection.sendall(b"}")


@pytest.mark.timeout(120)
def test_a_short_soak_test_accounts_for_every_message(
    broker: Broker, vhost_url: str, tmp_path: Path
) -> None:
    plan = Plan(seconds=5, rate=100, seed=1, faults=["close", "kill"])
    report = soak(plan, broker, vhost_url, tmp_path)
    print("\n".join(report.lines()))
    assert (report.lost, report.false_200) == (0, 0)
    assert report.is_good
    assert report.timeline.events
    assert report.load.unanswered[1] == 0
    assert all(account.received for account in report.accounts)
