"""A model of subscriptions on one queue: where each message is, whatever happens in which order.

:class:`EveryMessage` has the steps. ``tests/testing/test_every_message.py`` runs them on the broker
in memory and looks into it; ``test_every_message.py`` beside this file runs them on RabbitMQ.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from inspect import isawaitable
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gateway.amqp.connection.link import Link
from gateway.amqp.connection.tap import Tap
from gateway.amqp.connection.urls import parse_broker_url
from gateway.amqp.consume import attachment, subscription_channel
from gateway.amqp.consume.delivery import Delivery
from gateway.amqp.consume.subscription import Subscription
from gateway.amqp.consume.subscription_channel import MESSAGE_OVERHEAD, SubscriptionChannel
from gateway.amqp.settings import ConsumerSettings
from gateway.core.bridge import SameLoop

QUEUE, DEAD = "q", "dead"

Settlement = Literal["acknowledge", "give_back", "reject", "park"]
Then = int | None
"""After a step: so many turns of the event loop; None: until nothing is on its way any more."""

THEN: st.SearchStrategy[Then] = st.sampled_from([None, None, None, 0, 1, 2, 5])
INDEX = st.integers(0, 1000)
LARGE = 1000
"""Bytes. With a small ``max_bytes`` two of such messages fit."""

SMALL_BOUND = 3000


@dataclass(eq=False)
class WaitingRequest:
    """A request that waits for a message, and holds it then. A Waiter of the buffer."""

    replica: Replica
    is_over: bool = False

    def take(self, delivery: Delivery) -> None:
        assert not self.is_over, "a request got a second message, or one after its end"
        self.is_over = True
        self.replica.waiting.remove(self)
        self.replica.hold(delivery)


@dataclass
class Record:
    """A request has acknowledged or rejected a message. ``counts``: its channel was open."""

    body: bytes
    settlement: Settlement
    counts: bool


@dataclass(eq=False)
class Replica:
    """One gateway's subscription. ``had_fault``: it has lost its channel since everything was
    quiet: what was settled since then may not have reached the broker. ``asked_at``: loop time
    of the last request, or of the last channel. ``largest_raise``: of its prefetch, until now."""

    link: Link
    subscription: Subscription
    is_stopped: bool = True
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    running: asyncio.Task[None] | None = None
    waiting: list[WaitingRequest] = field(default_factory=list)
    held: list[Delivery] = field(default_factory=list)
    fetches: list[asyncio.Task[None]] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    had_fault: bool = False
    asked_at: float = 0.0
    largest_raise: int = 0

    def hold(self, delivery: Delivery) -> None:
        assert all(
            other.channel is not delivery.channel or other.tag != delivery.tag
            for other in self.held
        ), "two requests hold one message"
        self.held.append(delivery)

    async def fetch(self) -> None:
        delivery = await self.subscription.fetch()
        if delivery is not None:
            self.hold(delivery)

    async def live(self) -> None:
        async with self.link.opened():
            await self.stopping.wait()

    @property
    def channel(self) -> SubscriptionChannel | None:
        """The channel that it works on."""
        on_channel = self.subscription._attachment
        return None if on_channel is None else on_channel._deliveries

    @property
    def tap(self) -> Tap:
        assert self.channel is not None
        tap: Tap = self.channel._write.__self__  # type: ignore[attr-defined]
        return tap

    def buffered(self, channel: SubscriptionChannel) -> list[Delivery]:
        return [each for each in self.subscription.buffer.ready if each.channel is channel]

    def held_on(self, channel: SubscriptionChannel) -> list[Delivery]:
        return [each for each in self.held if each.channel is channel]

    def check_states(self) -> None:
        """At any moment: a message of an open channel is in one state, and only once."""
        ready = self.subscription.buffer.ready
        for channel in {each.channel for each in (*ready, *self.held)} | {self.channel}:
            if not isinstance(channel, SubscriptionChannel) or not channel.is_open:
                continue
            known = [*self.buffered(channel), *self.held_on(channel), *channel._timers]
            twice = [tag for tag, n in Counter(each.tag for each in known).items() if n > 1]
            assert not twice, f"in two states at once: tags {twice}"
            unsettled = len(channel._ledger) - len(channel._acknowledged)
            if all(fetch.done() for fetch in self.fetches):
                assert len(known) == unsettled, f"{len(known)} known, {unsettled} unsettled"
                size = sum(len(each.body) + MESSAGE_OVERHEAD for each in known)
                assert channel.held_bytes == size, f"{channel.held_bytes} counted, {size} held"
                held = self.held_on(channel)
                sent = sum(each.is_sent for each in held)
                counted = channel.unsent, channel.sent_count
                assert counted == (len(held) - sent, sent), f"{counted} counted, {sent} sent"
            self.largest_raise = max(self.largest_raise, channel.prefetch_raise.size)
            maximum = self.subscription._max_prefetch + self.largest_raise
            prefetch = channel.credit.prefetch
            assert prefetch <= maximum, f"prefetch {prefetch} of {maximum}"


class EveryMessage(RuleBasedStateMachine):
    """``pauses``: seconds that may pass in a step, or a message may be parked for.
    ``is_repeatable``: the same steps have the same effect, so that the next one may depend on it.
    ``max_parked``: in place of 15 minutes. ``idle_returns``: of the subscriptions."""

    pauses: tuple[float, ...] = (0.01, 0.1, 1.0, 3.0, 40.0)
    max_parked = 20.0
    is_repeatable = True
    idle_returns: tuple[float | str, ...] = (0.05, 2.0, "never")
    prefetches: tuple[int, ...] = (1, 2, 5, 40)
    kinds: tuple[dict[str, Any], ...] = ({}, {"x-queue-type": "quorum"})
    dies: tuple[dict[str, Any], ...] = ({},)

    def __init__(self) -> None:
        super().__init__()
        self.replicas: list[Replica] = []
        self.published: list[bytes] = []
        self.is_available = True
        self.fetched = False
        self.changed_at = 0.0
        self.was_parked_time = subscription_channel.MAX_PARKED_TIME
        self.was_interval = attachment.OVERDUE_CHECK_INTERVAL
        subscription_channel.MAX_PARKED_TIME = self.max_parked
        attachment.OVERDUE_CHECK_INTERVAL = self.max_parked / 4
        self.loop = self.new_loop()

    # What the two kinds of broker do differently.

    url: str

    def new_loop(self) -> asyncio.AbstractEventLoop:
        raise NotImplementedError

    async def connect(self, *args: Any, **options: Any) -> Any:
        """Open a connection, as the method of the event loop."""
        raise NotImplementedError

    def choose_broker(self, data: st.DataObject) -> None:
        """Before the first connection."""

    async def prepare(self, wanted: ConsumerSettings) -> None:
        """The first subscription has declared its queue."""

    async def publish(self, bodies: list[bytes]) -> None:
        raise NotImplementedError

    async def look(self) -> None:
        """Wait until nothing is on its way, and compare with what the broker has."""
        raise NotImplementedError

    async def check_end(self) -> None:
        """Every subscription has ended."""
        raise NotImplementedError

    # The steps.

    @initialize(data=st.data())
    def start(self, data: st.DataObject) -> None:
        self.choose_broker(data)
        draw = data.draw
        limits = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}
        kind = draw(st.sampled_from(self.kinds))
        fate = draw(st.sampled_from(self.dies))
        if fate.get("delete") and kind:
            fate = {}
        arguments = {**limits, **kind, **fate.get("arguments", {})}
        if kind:
            arguments["x-delivery-limit"] = 1000
        wanted = ConsumerSettings(
            name=QUEUE,
            durable=True,
            delete=fate.get("delete", False),
            arguments=arguments,
            prefetch_count=draw(st.sampled_from(self.prefetches)),
            idle_return=draw(st.sampled_from(self.idle_returns)),
        )
        max_bytes = draw(st.sampled_from([SMALL_BOUND, 1 << 26]))
        self.wanted = wanted
        number = draw(st.integers(1, 2))
        self.run(lambda: self.open_replicas(wanted, max_bytes, number), None)
        self.publishes(draw(st.integers(0, 8)), draw(st.booleans()), None)

    async def open_replicas(self, wanted: ConsumerSettings, max_bytes: int, number: int) -> None:
        side = SameLoop(self.loop, self.connect)
        for _ in range(number):
            link = Link((parse_broker_url(self.url),), "consume", side)
            made = Subscription(wanted, link, side, max_bytes)
            subscription = link.shared("key", partial(_same, made)).share_with(wanted)
            replica = Replica(link, subscription)
            self.replicas.append(replica)
            self.begin(replica)
            async with asyncio.timeout(10):
                while not subscription.is_ready:
                    await asyncio.sleep(0.01)
            if len(self.replicas) == 1:
                await self.prepare(wanted)

    def begin(self, replica: Replica) -> None:
        replica.is_stopped = False
        replica.stopping = asyncio.Event()
        replica.running = self.loop.create_task(replica.live())

    def end(self, replica: Replica) -> None:
        replica.is_stopped = True
        replica.stopping.set()

    @rule(number=st.sampled_from([1, 2, 3, 6, 30]), is_large=st.booleans(), then=THEN)
    def messages_come(self, number: int, is_large: bool, then: Then) -> None:
        self.publishes(number, is_large, then)

    def publishes(self, number: int, is_large: bool, then: Then) -> None:
        first = len(self.published)
        size = LARGE if is_large else 8
        bodies = [(b"%d " % each).ljust(size, b".") for each in range(first, first + number)]
        self.published += bodies
        self.run(lambda: self.publish(bodies), then)

    @rule(at=INDEX, number=st.sampled_from([1, 2, 3, 4, 20]), then=THEN)
    def requests_wait(self, at: int, number: int, then: Then) -> None:
        replica = self.replica(at)

        def begin() -> None:
            for _ in range(number):
                request = WaitingRequest(replica)
                replica.waiting.append(request)
                replica.subscription.wait(request)

        self.run(begin, then)

    @rule(at=INDEX, then=THEN)
    def a_request_takes_what_is_buffered(self, at: int, then: Then) -> None:
        replica = self.replica(at)

        def take() -> None:
            delivery = replica.subscription.buffer.take_nowait()
            if delivery is not None:
                replica.asked_at = self.loop.time()
                replica.hold(delivery)

        self.run(take, then)

    @rule(at=INDEX, then=THEN)
    def a_request_fetches(self, at: int, then: Then) -> None:
        replica = self.replica(at)
        self.fetched = True
        replica.fetches.append(self.loop.create_task(replica.fetch()))
        self.run(None, then)

    @precondition(lambda self: self.may_have("fetches"))
    @rule(at=INDEX, then=THEN)
    def a_fetching_request_hangs_up(self, at: int, then: Then) -> None:
        fetches = [each for replica in self.replicas for each in replica.fetches]
        self.run(fetches[at % len(fetches)].cancel if fetches else None, then)

    @precondition(lambda self: self.may_have("waiting"))
    @rule(at=INDEX, number=st.integers(1, 3), then=THEN)
    def waiting_requests_hang_up(self, at: int, number: int, then: Then) -> None:
        waiting = [each for replica in self.replicas for each in replica.waiting]
        chosen = (waiting + waiting)[at % max(1, len(waiting)) :][: min(number, len(waiting))]

        def hang_up() -> None:
            for request in chosen:
                if not request.is_over:
                    self.hang_up(request)

        self.run(hang_up, then)

    def hang_up(self, request: WaitingRequest) -> None:
        replica = request.replica
        replica.asked_at = self.loop.time()
        replica.waiting.remove(request)
        request.is_over = True
        assert replica.subscription.withdraw(request)

    @precondition(lambda self: self.may_have("held"))
    @rule(at=INDEX, number=st.sampled_from([1, 1, 3, 10]), then=THEN)
    def responses_are_sent(self, at: int, number: int, then: Then) -> None:
        """The clients have not acknowledged them. Some may be sent already: that has no effect."""
        chosen = self.held(at, number)

        def send() -> None:
            for _, delivery in chosen:
                delivery.sent()

        self.run(send, then)

    @precondition(lambda self: self.may_have("held"))
    @rule(
        at=INDEX,
        number=st.sampled_from([1, 1, 1, 3, 10]),
        how=st.sampled_from(["acknowledge", "acknowledge", "give_back", "reject", "park"]),
        seconds=INDEX,
        then=THEN,
    )
    def requests_end(self, at: int, number: int, how: Settlement, seconds: int, then: Then) -> None:
        chosen = self.held(at, number)

        def settle() -> None:
            for replica, delivery in chosen:
                self.settle(replica, delivery, how, seconds)

        self.run(settle, then)

    def held(self, at: int, number: int) -> list[tuple[Replica, Delivery]]:
        """Some of the messages that requests hold."""
        held = [(each, delivery) for each in self.replicas for delivery in each.held]
        return (held + held)[at % max(1, len(held)) :][: min(number, len(held))]

    def settle(self, replica: Replica, delivery: Delivery, how: Settlement, seconds: int) -> None:
        replica.held.remove(delivery)
        if how in ("acknowledge", "reject"):
            replica.records.append(Record(delivery.body, how, delivery.channel.is_open))
        if how == "park":
            pauses = (None, *self.pauses)
            delivery.park(pauses[seconds % len(pauses)])
        else:
            getattr(delivery, how)()

    @rule(at=INDEX)
    def time_passes(self, at: int) -> None:
        seconds = self.pauses[at % len(self.pauses)]
        self.run(lambda: asyncio.sleep(seconds), None)

    @precondition(lambda self: self.is_well)
    @rule(at=INDEX, kind=INDEX, then=THEN)
    def a_fault(self, at: int, kind: int, then: Then) -> None:
        replica, faults = self.replica(at), self.faults()
        self.run(lambda: faults[kind % len(faults)](replica), then)

    @precondition(lambda self: not self.is_well)
    @rule(then=THEN)
    def all_is_well_again(self, then: Then) -> None:
        self.run(self.heal, then)

    @property
    def is_well(self) -> bool:
        return self.is_available and not any(each.is_stopped for each in self.replicas)

    async def heal(self) -> None:
        self.is_available = True
        for replica in self.replicas:
            if replica.is_stopped:
                assert replica.running is not None
                await replica.running
                self.begin(replica)

    def faults(self) -> list[Callable[[Replica], object]]:
        """Of one gateway, or of all of them."""
        return [self.end, self.settle_and_end, self.cut, self.lose_broker]

    def settle_and_end(self, replica: Replica) -> None:
        """The gateway stops while its requests end."""
        for delivery in tuple(replica.held):
            self.settle(replica, delivery, "acknowledge", 0)
        self.end(replica)

    def cut(self, replica: Replica) -> None:
        replica.had_fault = True
        if replica.channel is not None:
            replica.tap.abort()

    def lose_broker(self, replica: Replica) -> None:
        self.is_available = False
        for each in self.replicas:
            self.cut(each)

    # Running.

    def may_have(self, name: str) -> bool:
        """Whether a step on requests in this list of a replica can be chosen."""
        return not self.is_repeatable or any(getattr(each, name) for each in self.replicas)

    def replica(self, at: int) -> Replica:
        return self.replicas[at % len(self.replicas)]

    def fault(self) -> None:
        for replica in self.replicas:
            replica.had_fault = True

    def run(self, work: Callable[[], object] | None, then: Then) -> None:
        """Do ``work`` on the loop, and then let the loop turn."""
        self.loop.run_until_complete(self.step(work, then))

    async def step(self, work: Callable[[], object] | None, then: Then) -> None:
        if work is not None:
            self.changed_at = self.loop.time()
        if work is not None and isawaitable(done := work()):
            await done
        for _ in range(then or 0):
            self.check_states()
            await asyncio.sleep(0)
        self.check_states()
        if then is None:
            await self.look()
            self.check_states()

    def check_states(self) -> None:
        now = self.loop.time()
        for replica in self.replicas:
            for fetch in [each for each in replica.fetches if each.done()]:
                replica.fetches.remove(fetch)
                if not fetch.cancelled():
                    fetch.result()
            if replica.waiting or replica.fetches:
                replica.asked_at = now
            replica.check_states()

    def settled_surely(self) -> tuple[set[bytes], set[bytes], set[bytes], set[bytes]]:
        """Bodies that requests have acknowledged, and rejected, since the last call; and those of
        which the broker may know it or not. A channel that was lost makes the difference."""
        sure: dict[Settlement, set[bytes]] = {"acknowledge": set(), "reject": set()}
        perhaps: dict[Settlement, set[bytes]] = {"acknowledge": set(), "reject": set()}
        for replica in self.replicas:
            for record in replica.records:
                if record.counts:
                    (perhaps if replica.had_fault else sure)[record.settlement].add(record.body)
            replica.records.clear()
            replica.had_fault = False
        return sure["acknowledge"], sure["reject"], perhaps["acknowledge"], perhaps["reject"]

    def teardown(self) -> None:
        subscription_channel.MAX_PARKED_TIME = self.was_parked_time
        attachment.OVERDUE_CHECK_INTERVAL = self.was_interval
        try:
            if self.replicas:
                self.loop.run_until_complete(self.finish())
        finally:
            self.loop.run_until_complete(cancel_all())
            self.loop.close()

    async def finish(self) -> None:
        for replica in self.replicas:
            for request in replica.waiting:
                assert replica.subscription.withdraw(request)
            self.end(replica)
        for replica in self.replicas:
            assert replica.running is not None
            await replica.running
            if replica.fetches:
                await asyncio.wait(replica.fetches, timeout=1)
        self.check_states()
        for replica in self.replicas:
            assert not replica.fetches, "a fetch has not ended"
        await self.check_end()


def _same(made: Subscription) -> Subscription:
    return made


async def cancel_all() -> None:
    """After a failure: end what still runs."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
