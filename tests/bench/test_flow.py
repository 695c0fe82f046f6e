"""Steady-state queues: every message that is fed or read is accounted for, at the planned rates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from pamqp.commands import Basic

from bench.accounting import Accounting, consumed, published
from bench.fill import open_filler
from bench.flow import Feed, FlowPlan, due, open_flow, step_at
from bench.load.own import LoadError
from bench.load.plan import Step
from bench.messages import PUBLISHED, first_number, message, numbers_in
from bench.queues import RESERVE, Stock, drain
from bench.reading import opened_channel
from bench.scenarios import all_scenarios
from gateway.demo.broker import Broker

STEPS = [Step(500, 0.2), Step(2000, 0.2)]
EXPECTED, SECONDS = 500, 0.4
"""What comes of them."""


def stock_of(scenario: str, url: str) -> Stock:
    stock = Stock(all_scenarios()[scenario], url)
    stock.set_up()
    return stock


def publish(url: str, queue: str, numbers: range) -> None:
    async def put() -> None:
        async with open_filler(url) as filler:
            filler.put("", queue, (message(0, number) for number in numbers))
            await filler.drained()

    asyncio.run(put())


def take(url: str, queue: str, number: int) -> list[int]:
    """Take messages as a candidate would; the numbers."""

    async def get() -> list[bytes]:
        async with opened_channel(url) as (_, channel):
            got = [await channel.basic_get(queue, no_ack=True) for _ in range(number)]
            return [each.body for each in got if isinstance(each.delivery, Basic.GetOk)]

    return numbers_in(asyncio.run(get()))


def wait_until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        time.sleep(0.01)


def test_the_rate_follows_the_steps() -> None:
    steps = [Step(100, 2), Step(300, 1)]
    moments = (-1, 0, 1, 2, 2.5, 3, 99)
    assert [due(steps, moment) for moment in moments] == [0, 0, 100, 200, 350, 500, 500]
    assert due([], 1) == 0
    assert [step_at(steps, moment) for moment in moments] == [0, 0, 0, 1, 1, 1, 1]


def test_each_queue_is_given_every_number_once_and_not_before_its_time(vhost_url: str) -> None:
    stock = stock_of("consume-10", vhost_url)
    feeds = [Feed(f"bench-{n}", n, first_number(n), 130) for n in range(2)]
    with open_flow() as flow:
        flow.prepare(FlowPlan(vhost_url, feeds, [], STEPS))
        began = time.monotonic()
        flow.begin()
        wait_until(lambda: stock.count("bench-1") == EXPECTED)
        assert time.monotonic() - began >= SECONDS * 0.98
        flowed = flow.end()
    assert (flowed.fed, flowed.read) == (EXPECTED, [])
    for index, queue in enumerate(("bench-0", "bench-1")):
        first = first_number(index)
        assert drain(vhost_url, [queue]) == list(range(first, first + EXPECTED))


def test_a_load_that_does_not_begin_is_not_fed(vhost_url: str) -> None:
    stock = stock_of("consume-1", vhost_url)
    with stock.in_steady_state(STEPS):
        assert stock.count("bench-0") == RESERVE
    assert stock.filled == RESERVE


def test_a_long_queue_is_shortened_and_what_was_taken_of_it_is_not_lost(vhost_url: str) -> None:
    stock = stock_of("consume-1", vhost_url)
    stock.top_up(RESERVE * 2)
    with stock.in_steady_state(STEPS):
        assert stock.count("bench-0") == RESERVE
        responded = take(vhost_url, "bench-0", 10)
    assert consumed(stock.numbers(), responded, stock.remaining()) == Accounting(3 * RESERVE, 0, 0)


@pytest.mark.parametrize(("responded", "lost", "duplicated"), [(10, 0, 0), (9, 1, 0), (11, 0, 1)])
def test_a_message_that_a_candidate_loses_of_a_fed_queue_is_caught(
    vhost_url: str, responded: int, lost: int, duplicated: int
) -> None:
    """It takes ten messages and responds with nine of them, or with one of them twice."""
    stock = stock_of("consume-1", vhost_url)
    with stock.in_steady_state(STEPS) as begin:
        begin()
        wait_until(lambda: stock.count("bench-0") == RESERVE + EXPECTED)
        taken = take(vhost_url, "bench-0", 10)
    received = (taken * 2)[:responded]
    accounting = consumed(stock.numbers(), received, stock.remaining())
    assert accounting == Accounting(RESERVE + EXPECTED, lost, duplicated)


def test_fed_messages_are_as_many_as_a_mix_takes(vhost_url: str) -> None:
    """Half of its requests publish."""
    stock = stock_of("mixed", vhost_url)
    with stock.in_steady_state(STEPS) as begin:
        begin()
        wait_until(lambda: stock.count("bench-0") == RESERVE + EXPECTED / 2)
    assert stock.filled == RESERVE + EXPECTED / 2


def test_what_is_published_is_read_at_once_and_counts_as_if_it_were_there(vhost_url: str) -> None:
    stock = stock_of("publish", vhost_url)
    before, meanwhile, after = (
        range(PUBLISHED + each, PUBLISHED + each + 150) for each in (0, 150, 300)
    )
    publish(vhost_url, "q", before)
    with stock.in_steady_state(STEPS) as begin:
        assert stock.count("q") == 0
        begin()
        publish(vhost_url, "q", meanwhile)
        wait_until(lambda: stock.count("q") == 0)
    publish(vhost_url, "q", after)
    confirmed = [*before, *meanwhile, *after]
    assert published(confirmed, stock.published()) == Accounting(450, 0, 0)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [(range(0), Accounting(151, lost=1, duplicated=0)), (range(149, 151), Accounting(151, 0, 1))],
    ids=["one is missing", "one came twice"],
)
def test_a_confirmed_message_that_was_not_in_the_queue_is_caught(
    vhost_url: str, extra: range, expected: Accounting
) -> None:
    stock = stock_of("publish", vhost_url)
    with stock.in_steady_state(STEPS) as begin:
        begin()
        for numbers in (range(150), extra):
            publish(vhost_url, "q", numbers)
    assert published(range(151), stock.published()) == expected


def test_a_load_whose_queues_are_fed_too_late_is_reported(vhost_url: str) -> None:
    stock = stock_of("consume-1", vhost_url)
    with stock.in_steady_state([Step(1_000_000, 0.01)]) as begin:
        begin()
        wait_until(lambda: stock.count("bench-0") == RESERVE + 10_000)
    assert "late" in stock.shortage(0)
    with stock.in_steady_state([Step(100, 0.01)]) as begin:
        begin()
    assert stock.shortage(0) == ""


def test_a_feeder_that_loses_its_connection_fails_the_load(
    vhost_url: str, broker: Broker, capfd: pytest.CaptureFixture[str]
) -> None:
    stock = stock_of("consume-1", vhost_url)
    with pytest.raises(LoadError):
        with stock.in_steady_state([Step(100, 60)]) as begin:
            begin()
            wait_until(lambda: stock.count("bench-0") > RESERVE)
            vhost = vhost_url.rsplit("/", 1)[1]
            broker.ctl("close_all_connections", "--vhost", vhost, "test")
    assert "Traceback" in capfd.readouterr().err


def test_a_broker_that_is_not_there_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with open_flow() as flow, pytest.raises(LoadError):
        flow.prepare(FlowPlan("amqp://guest:guest@127.0.0.1:1", [], [], []))
    assert "Connect" in capfd.readouterr().err
