"""What RabbitMQ 4 does differently, on the broker in memory: refused queues, cancelled consumers,
small frames, small messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
from anyio import create_task_group, current_time, fail_after
from msgspec.structs import replace

from gateway.amqp.connection.link import Link
from gateway.amqp.connection.urls import parse_broker_url
from gateway.amqp.consume.delivery import Delivery
from gateway.amqp.consume.subscription import Subscription, subscription_key
from gateway.amqp.publish import producer_queue
from gateway.amqp.publish.publication import Outcome, Publication
from gateway.amqp.publish.publisher import Publisher, PublishLink
from gateway.amqp.settings import ConsumerSettings, ProducerSettings
from gateway.core.bridge import AsyncioSide
from gateway.core.proxy import Part, Response
from gateway.testing.memory_broker import NO_PROPERTIES, MemoryBroker
from gateway.testing.routing import BrokerBinding
from gateway.testing.rules import RABBITMQ_4_0, RABBITMQ_4_3
from gateway.testing.virtual_time import VirtualTimeLoop
from tests.rabbitmq.amqp import open_subscription, settings, until
from tests.rabbitmq.amqp import take as take_within

pytestmark = pytest.mark.anyio

MAX_BYTES = 2**26
REFUSED = (
    "INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated. Its use is not permitted"
)


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"loop_factory": VirtualTimeLoop}), id="asyncio"),
        pytest.param(("trio", {}), id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Time is virtual under asyncio only."""
    return request.param


async def at(side: AsyncioSide, do: Callable[[], object]) -> None:
    """Do something with the broker, which lives on the asyncio side."""

    async def call() -> None:
        do()

    await side.run(call)


take = partial(take_within, seconds=60)


# A queue that is neither durable nor exclusive: 4.3 closes the connection.


class Subscriptions:
    """On one link. ``good``: durable queues; ``refused``: transient ones."""

    def __init__(self, side: AsyncioSide, url: str, refused: int = 1) -> None:
        self.link = Link((parse_broker_url(url),), "consume", side)
        self.refused = [
            self._subscribe(side, settings(f"transient-{number}", exchange="", durable=False))
            for number in range(refused)
        ]
        self.good = [self._subscribe(side, settings(f"q{number}")) for number in range(3)]

    def _subscribe(self, side: AsyncioSide, wanted: ConsumerSettings) -> Subscription:
        return self.link.shared(
            subscription_key(wanted), lambda: Subscription(wanted, self.link, side, MAX_BYTES)
        ).share_with(wanted)

    def are_good_ones_ready(self) -> bool:
        return all(each.is_ready for each in self.good)

    def are_others_refused(self) -> bool:
        return all(REFUSED in each.problem for each in self.refused)


def links_of(caplog: pytest.LogCaptureFixture, role: str) -> int:
    """How often the link has connected. (Separate connections are not in the log.)"""
    return sum(f"connected ({role})" in each.getMessage() for each in caplog.records)


@pytest.fixture
def memory() -> MemoryBroker:
    return MemoryBroker(RABBITMQ_4_3)


@pytest.mark.parametrize("refused", [1, 3])
async def test_a_refused_transient_queue_interrupts_other_subscriptions_once_at_most(
    memory: MemoryBroker, side: AsyncioSide, refused: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway.amqp")
    subscriptions = Subscriptions(side, memory.url, refused)
    async with subscriptions.link.opened():
        await until(lambda: subscriptions.are_good_ones_ready())
        await until(lambda: subscriptions.are_others_refused())
        assert links_of(caplog, "consume") <= 2
        for number in range(3):
            await at(side, partial(memory.publish, f"q{number}", [b"1"]))
        held = [await take(each) for each in subscriptions.good]
        attempts, start = memory.accepted, current_time()
        await until(lambda: memory.accepted >= attempts + 3 * refused)
        assert current_time() - start > 1.5  # the pauses between attempts are a second
        for delivery in held:  # settles nothing if its channel has ended
            delivery.acknowledge()
        readiness = subscriptions.link.readiness()
        assert links_of(caplog, "consume") <= 2
    assert [memory.count(f"q{number}") for number in range(3)] == [(0, 0)] * 3
    assert readiness["connected"] is True
    assert readiness["ready"] is False
    channels_told = readiness["channels"]
    assert isinstance(channels_told, list)
    problems = {each["queue"]: each["problem"] for each in channels_told}
    transient = {f"transient-{number}": REFUSED for number in range(refused)}
    assert problems == {"q0": "", "q1": "", "q2": "", **transient}


async def test_a_transient_queue_that_was_refused_is_used_when_it_is_allowed(
    memory: MemoryBroker, side: AsyncioSide
) -> None:
    subscriptions = Subscriptions(side, memory.url)
    async with subscriptions.link.opened():
        await until(lambda: subscriptions.are_others_refused())
        await at(side, lambda: setattr(memory.state, "rules", RABBITMQ_4_0))
        [subscription] = subscriptions.refused
        await until(lambda: subscription.is_ready)
        await at(side, lambda: memory.publish("transient-0", [b"1"]))
        (await take(subscription)).acknowledge()


async def test_an_upgrade_of_the_broker_interrupts_other_subscriptions_once_more_at_most(
    memory: MemoryBroker, side: AsyncioSide, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway.amqp")
    memory.state.rules = RABBITMQ_4_0
    subscriptions = Subscriptions(side, memory.url)
    async with subscriptions.link.opened():
        await until(lambda: subscriptions.are_good_ones_ready())
        await until(lambda: subscriptions.refused[0].is_ready)

        def upgrade() -> None:
            memory.state.rules = RABBITMQ_4_3
            memory.delete_queue("transient-0")  # a restart does that
            memory.cut()

        await at(side, upgrade)
        await until(lambda: subscriptions.are_others_refused())
        await until(lambda: subscriptions.are_good_ones_ready())
        attempts = memory.accepted
        await until(lambda: memory.accepted >= attempts + 2)
        assert subscriptions.are_good_ones_ready()
        assert links_of(caplog, "consume") <= 3


def producers(side: AsyncioSide, url: str) -> tuple[PublishLink, Publisher, Publisher]:
    """The first one names a transient queue."""
    link = PublishLink((parse_broker_url(url),), side, limit=1000)

    def publisher(wanted: ProducerSettings) -> Publisher:
        return link.shared(wanted.exchange, lambda: Publisher(wanted, link, side)).share_with(
            wanted
        )

    naming = ProducerSettings(
        name="transient", exchange="a", routing_key="k", static_routing_key=True
    )
    return link, publisher(naming), publisher(ProducerSettings(exchange="b"))


def publish(publisher: Publisher, body: bytes, outcomes: list[Outcome]) -> None:
    def answer(publication: Publication, outcome: Outcome) -> Part:
        outcomes.append(outcome)
        return Response()

    publisher.publish(
        Publication(publisher, b"k", NO_PROPERTIES, body, b"", False, answer, lambda part: None)
    )


async def test_a_refused_transient_queue_of_a_producer_fails_no_publish(
    memory: MemoryBroker,
    side: AsyncioSide,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(producer_queue, "QUEUE_REDECLARE_INTERVAL", 0.2)
    caplog.set_level("INFO", "gateway.amqp")
    outcomes: list[Outcome] = []
    link, naming, other = producers(side, memory.url)
    async with link.opened():
        for publisher in (naming, other):  # before the broker has refused the queue, and after it
            publish(publisher, b"1", outcomes)
        await until(lambda: len(outcomes) == 2)
        await until(lambda: naming.is_ready and other.is_ready)
        attempts = memory.accepted
        await until(lambda: memory.accepted >= attempts + 3)
        for publisher in (naming, other):
            publish(publisher, b"2", outcomes)
        await until(lambda: len(outcomes) == 4)
        readiness = naming.readiness()
    assert readiness["queues"] == [{"queue": "transient", "problem": REFUSED}]
    assert readiness["ready"]
    assert set(outcomes) == {Outcome.CONFIRMED}
    assert links_of(caplog, "publish") <= 2


# The broker cancels a consumer.

EXISTS = "queue 'q': RabbitMQ cancelled the consumer: the queue exists"


@asynccontextmanager
async def waiting(subscription: Subscription, requests: int = 1) -> AsyncGenerator[list[Delivery]]:
    """So many requests wait for a message during the block, and have one at its end."""
    taken: list[Delivery] = []

    async def take_one() -> None:
        taken.append(await subscription.take())

    with fail_after(60):
        async with create_task_group() as tasks:
            for _ in range(requests):
                tasks.start_soon(take_one)
            await until(lambda: subscription.is_attached)
            yield taken


def last_problem(caplog: pytest.LogCaptureFixture) -> str:
    """What the log says of a cancelled consumer."""
    found = [each.getMessage() for each in caplog.records if "cancelled" in each.getMessage()]
    return found[-1] if found else ""


async def test_a_consumer_that_the_broker_cancels_is_started_again(
    memory: MemoryBroker, side: AsyncioSide, caplog: pytest.LogCaptureFixture
) -> None:
    quorum = settings("q", idle_return="never", arguments={"x-queue-type": "quorum"})
    async with open_subscription(side, memory.url, quorum) as subscription:
        for _ in range(3):
            async with waiting(subscription) as taken:
                await at(side, lambda: memory.cancel_consumers("q"))
                await until(lambda: not subscription.is_attached)
                await until(lambda: subscription.is_attached)
                await at(side, lambda: memory.publish("q", [b"1"]))
            taken[0].acknowledge()
            assert EXISTS in last_problem(caplog)
            assert "deleted" not in last_problem(caplog)
            caplog.clear()
    assert memory.count("q") == (0, 0)
    assert memory.accepted == 1


async def test_messages_of_a_cancelled_consumer_are_delivered_again(
    memory: MemoryBroker, side: AsyncioSide, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = settings("q", idle_return="never")
    async with open_subscription(side, memory.url, wanted) as subscription:
        async with waiting(subscription, 2) as held:
            await at(side, lambda: memory.publish("q", [b"1", b"2"]))
        await until(lambda: memory.count("q") == (0, 1))  # no consumer is replaced
        await at(side, lambda: memory.cancel_consumers("q"))
        await until(lambda: EXISTS in last_problem(caplog))
        held[0].acknowledge()  # its channel is gone: settles nothing
        held[1].give_back()
        again = [await take(subscription) for _ in range(2)]
        assert [each.body for each in again] == [b"1", b"2"]
        for delivery in again:
            delivery.acknowledge()
    assert memory.count("q") == (0, 0)


async def test_an_agents_consumer_that_the_broker_cancels_is_started_again(
    memory: MemoryBroker, side: AsyncioSide, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_subscription(
        side, memory.url, settings("q"), is_permanent=True
    ) as subscription:
        await until(lambda: subscription.is_attached)
        await at(side, lambda: memory.cancel_consumers("q"))
        await until(lambda: "the queue exists" in last_problem(caplog))
        await until(lambda: subscription.is_attached)
        await at(side, lambda: memory.publish("q", [b"1"]))
        (await take(subscription)).acknowledge()
    assert memory.count("q") == (0, 0)


async def test_a_deleted_queue_is_told_apart_from_a_cancelled_consumer(
    memory: MemoryBroker, side: AsyncioSide, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_subscription(side, memory.url, settings("q")) as subscription:
        async with waiting(subscription) as taken:
            await at(side, lambda: memory.delete_queue("q"))
            await until(lambda: not subscription.is_attached)
            await until(lambda: subscription.is_attached)
            await at(side, lambda: memory.publish("any.key", [b"1"], "ex"))
        taken[0].acknowledge()
    assert last_problem(caplog).endswith("RabbitMQ cancelled the consumer: the queue was deleted")


# Bounds.


async def test_messages_in_small_frames_arrive_whole(
    side: AsyncioSide, memory: MemoryBroker
) -> None:
    memory.state.rules = replace(RABBITMQ_4_0, frame_max=8192)
    bodies = [b"x" * size for size in (0, 8183, 8184, 8185, 100_000)]
    outcomes: list[Outcome] = []
    link, publisher, _ = producers(side, memory.url)
    async with link.opened(), open_subscription(side, memory.url, settings("q")) as subscription:
        await until(lambda: publisher.is_ready)
        await at(side, lambda: memory.state.bind("a", BrokerBinding("q", "k")))
        for body in bodies:
            publish(publisher, body, outcomes)
        for body in bodies:
            delivery = await take(subscription)
            assert delivery.body == body
            delivery.acknowledge()
        await until(lambda: len(outcomes) == len(bodies))
    assert set(outcomes) == {Outcome.CONFIRMED}
    assert memory.count("q") == (0, 0)
    assert memory.accepted == 2


async def test_a_message_above_the_size_of_the_broker_fails_alone(
    side: AsyncioSide, memory: MemoryBroker
) -> None:
    memory.state.rules = replace(RABBITMQ_4_0, max_message_size=1000)
    outcomes: dict[bytes, list[Outcome]] = {b"x" * 1000: [], b"x" * 1001: []}
    link, publisher, _ = producers(side, memory.url)
    async with link.opened():
        await until(lambda: publisher.is_ready)
        for _ in range(20):
            for body, settled in outcomes.items():
                publish(publisher, body, settled)
        await until(lambda: all(len(each) == 20 for each in outcomes.values()))
    assert [set(each) for each in outcomes.values()] == [{Outcome.CONFIRMED}, {Outcome.TOO_LARGE}]
    assert memory.count("transient") == (20, 0)
    assert memory.accepted == 1
