"""The broker in memory does what RabbitMQ does: each test runs against both.

``GATEWAY_TEST_RABBITMQ`` chooses the version of both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, TypeAlias

import pytest
from anyio import to_thread
from pamqp import commands

from gateway.amqp.connection.urls import parse_broker_url
from gateway.demo.broker import Broker
from gateway.testing.rules import RABBITMQ_3_10

from .amqp import MEMORY, close_connections, connect, rules
from .peer import PeerClient, open_client

pytestmark = pytest.mark.anyio

OpenClient: TypeAlias = Callable[..., AbstractAsyncContextManager[PeerClient]]
"""Opens another connection; ``channels``: how many channels it has."""

BODIES = (b"1", b"2", b"3", b"4", b"5", b"6")
QUORUM: dict[str, Any] = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
NACK, REJECT = commands.Basic.Nack, commands.Basic.Reject


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def open_peer(any_url: str) -> OpenClient:
    return partial(open_client, any_url, connect)


@pytest.fixture
async def client(open_peer: OpenClient) -> AsyncGenerator[PeerClient]:
    async with open_peer(channels=2) as client:
        yield client


async def bind(client: PeerClient, queue: str, exchange: str, key: str, **options: Any) -> None:
    method = commands.Queue.Bind(0, queue, exchange, key, **options)
    await client.call(method, commands.Queue.BindOk)


# Prefetch, and who gets which message.


async def test_qos_concerns_later_consumers_only(client: PeerClient) -> None:
    await client.declare("q")
    client.publish("q", *BODIES)
    await client.qos(1)
    await client.consume("q", "first")
    [held] = await client.deliveries(1)
    await client.qos(3)
    await client.deliveries(0)
    await client.consume("q", "second")
    assert [each.body for each in await client.deliveries(3)] == [b"2", b"3", b"4"]
    client.send(commands.Basic.Ack(held.tag))
    assert [each.consumer for each in await client.deliveries(1)] == ["first"]


async def test_a_fetched_message_does_not_count_for_the_prefetch(client: PeerClient) -> None:
    await client.declare("q")
    client.publish("q", *BODIES)
    fetched = await client.get("q")
    await client.qos(1)
    await client.consume("q", "c")
    [held] = await client.deliveries(1)
    assert await client.get("q") is not None
    assert fetched is not None
    client.send(commands.Basic.Ack(fetched.tag))
    await client.deliveries(0)
    client.send(commands.Basic.Ack(held.tag))
    assert [each.body for each in await client.deliveries(1)] == [b"4"]


async def test_messages_of_a_cancelled_consumer_do_not_count(client: PeerClient) -> None:
    await client.declare("q")
    client.publish("q", *BODIES)
    await client.qos(2)
    await client.consume("q", "first")
    await client.deliveries(2)
    cancel = commands.Basic.Cancel("first")
    await client.call(cancel, commands.Basic.CancelOk)
    await client.consume("q", "second")
    assert [each.body for each in await client.deliveries(2)] == [b"3", b"4"]
    client.send(commands.Basic.Ack(2, True))  # of the first consumer
    await client.deliveries(0)


async def test_without_acknowledgement_there_is_no_prefetch(client: PeerClient) -> None:
    await client.declare("q")
    client.publish("q", *BODIES)
    await client.qos(1)
    await client.consume("q", "c", no_ack=True)
    assert [each.tag for each in await client.deliveries(6)] == [1, 2, 3, 4, 5, 6]


async def test_qos_and_consume_may_be_written_at_once(client: PeerClient) -> None:
    await client.declare("q")
    client.publish("q", *BODIES)
    client.send(
        commands.Basic.Qos(prefetch_count=2),
        commands.Basic.Consume(queue="q", consumer_tag="one"),
        commands.Basic.Qos(prefetch_count=1),
        commands.Basic.Consume(queue="q", consumer_tag="two", nowait=True),
    )
    assert sorted(each.consumer for each in await client.deliveries(3)) == ["one", "one", "two"]


async def test_a_cancel_without_response_may_be_written_with_an_acknowledgement(
    client: PeerClient,
) -> None:
    await client.declare("q")
    client.publish("q", *BODIES)
    await client.qos(2)
    await client.consume("q", "c")
    first, _ = await client.deliveries(2)
    client.send(commands.Basic.Cancel("c", True), commands.Basic.Ack(first.tag))
    await client.deliveries(0)
    assert not [
        each for each in client.received if isinstance(each.method, commands.Basic.CancelOk)
    ]
    await client.until_ready("q", 4)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_consumers_take_turns(client: PeerClient, kind: str) -> None:
    await client.declare("q", durable=True, arguments={"x-queue-type": kind})
    await client.consume("q", "a", channel=1)
    await client.consume("q", "b", channel=2)
    client.publish("q", *BODIES)
    received = await client.deliveries(6)
    by_consumer = [[each.body for each in received if each.consumer == name] for name in "ab"]
    assert sorted(by_consumer) == [[b"1", b"3", b"5"], [b"2", b"4", b"6"]]


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_a_consumer_of_higher_priority_is_first(client: PeerClient, kind: str) -> None:
    await client.declare("q", durable=True, arguments={"x-queue-type": kind})
    await client.qos(2)
    await client.consume("q", "low", arguments={"x-priority": 1})
    await client.consume("q", "high", arguments={"x-priority": 2})
    client.publish("q", *BODIES[:3])
    received = await client.deliveries(3)
    assert [each.body for each in received if each.consumer == "high"] == [b"1", b"2"]


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_a_single_active_consumer_is_followed_by_the_next(
    client: PeerClient, kind: str
) -> None:
    if kind == "classic" and rules() is RABBITMQ_3_10:
        pytest.skip("with a prefetch, the classic queue of 3.10.8 gives its messages to no other")
    arguments = {"x-queue-type": kind, "x-single-active-consumer": True}
    await client.declare("q", durable=True, arguments=arguments)
    await client.qos(2)
    await client.consume("q", "a")
    await client.consume("q", "b")
    client.publish("q", *BODIES)
    assert {each.consumer for each in await client.deliveries(2)} == {"a"}
    await client.call(commands.Basic.Cancel("a"), commands.Basic.CancelOk)
    assert [(each.consumer, each.body) for each in await client.deliveries(2)] == [
        ("b", b"3"),
        ("b", b"4"),
    ]


# Settling.


@pytest.mark.parametrize(
    ("options", "order"),
    [({}, [b"1", b"2", b"3", b"4"]), (QUORUM, [b"3", b"1", b"2", b"4"])],
    ids=["classic", "quorum"],
)
async def test_order_of_returned_messages(
    client: PeerClient, options: dict[str, Any], order: list[bytes]
) -> None:
    if options and not rules().returns_to_front:
        order = [*order[-1:], *order[:-1]]
    await client.declare("q", **options)
    client.publish("q", *BODIES[:4])
    await client.until_ready("q", 4)
    tags = {}
    for _ in range(3):
        message = await client.get("q")
        assert message is not None
        assert not message.is_redelivered
        tags[message.body] = message.tag
    client.send(NACK(tags[b"3"], False, True), REJECT(tags[b"1"], True))
    client.send(NACK(tags[b"2"], False, True))
    await client.until_ready("q", 4)
    assert await client.get_all("q") == order


@pytest.mark.parametrize("options", [{}, QUORUM], ids=["classic", "quorum"])
async def test_messages_returned_together_keep_their_order(
    client: PeerClient, options: dict[str, Any]
) -> None:
    await client.declare("q", **options)
    client.publish("q", *BODIES)
    await client.until_ready("q", 6)
    for _ in range(3):
        await client.get("q")
    client.send(NACK(0, True, True))
    await client.until_ready("q", 6)
    received = []
    while (message := await client.get("q")) is not None:
        received.append((message.body, message.is_redelivered))
    returned = [(body, True) for body in BODIES[:3]]
    others = [(body, False) for body in BODIES[3:]]
    is_first = not options or rules().returns_to_front
    assert received == ([*returned, *others] if is_first else [*others, *returned])


async def test_multiple_settles_all_up_to_the_tag(client: PeerClient) -> None:
    await client.declare("q")
    client.publish("q", *BODIES)
    await client.get_all("q")
    client.send(commands.Basic.Ack(2, True), NACK(4, True, True))
    await client.until_ready("q", 2)
    assert await client.get_all("q") == [b"3", b"4"]
    client.send(commands.Basic.Ack(3))
    assert (await client.closed())[0] == 406  # settled by the nack


async def test_messages_return_when_their_channel_or_connection_ends(
    client: PeerClient, open_peer: OpenClient
) -> None:
    await client.declare("q")
    client.publish("q", *BODIES)
    async with open_peer(channels=2) as other:
        await other.get("q")
        await other.get("q", channel=2)
        await other.call(commands.Channel.Close(200, "", 0, 0), commands.Channel.CloseOk)
        await client.until_ready("q", 5)
        other.abort()
        await client.until_ready("q", 6)
    assert await client.get_all("q") == [*BODIES]


async def test_recover_returns_all(client: PeerClient) -> None:
    await client.declare("q")
    client.publish("q", *BODIES)
    await client.get_all("q")
    await client.call(commands.Basic.Recover(True), commands.Basic.RecoverOk)
    await client.until_ready("q", 6)
    assert await client.get_all("q") == [*BODIES]


@pytest.mark.parametrize("how", ["nack", "reject", "channel", "connection"])
async def test_a_quorum_queue_counts_returns(
    client: PeerClient, open_peer: OpenClient, how: str
) -> None:
    await client.declare("q", **QUORUM)
    client.publish("q", b"m")
    await client.until_ready("q", 1)
    counts = []
    for _ in range(3):
        async with open_peer() as other:
            message = await other.get("q")
            assert message is not None
            counts.append((message.headers.get("x-delivery-count"), message.is_redelivered))
            if how == "nack":
                other.send(NACK(message.tag, False, True))
            elif how == "reject":
                other.send(REJECT(message.tag, True))
            elif how == "channel":
                close = commands.Channel.Close(200, "", 0, 0)
                await other.call(close, commands.Channel.CloseOk)
            await client.until_ready("q", how != "connection")
        await client.until_ready("q", 1)
    first = 0 if rules().counts_from_zero else None
    assert counts == [(first, False), (1, True), (2, True)]


async def test_a_quorum_queue_drops_a_message_at_its_delivery_limit(client: PeerClient) -> None:
    limited = {**QUORUM["arguments"], "x-delivery-limit": 2}
    await client.declare("dead")
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    await client.declare("q", durable=True, arguments={**limited, **letters})
    client.publish("q", b"m")
    for _ in range(3):
        await client.until_ready("q", 1)
        message = await client.get("q")
        assert message is not None
        client.send(NACK(message.tag, False, True))
    await client.until_ready("dead", 1)
    assert await client.get("q") is None
    letter = await client.get("dead")
    assert letter is not None
    [death] = letter.headers["x-death"]
    assert (death["reason"], death["queue"], death["count"]) == ("delivery_limit", "q", 1)


async def test_the_default_delivery_limit(client: PeerClient) -> None:
    await client.declare("q", **QUORUM)
    client.publish("q", b"m")
    await client.until_ready("q", 1)
    deliveries = 0
    while deliveries < 30 and (message := await client.get("q")) is not None:
        deliveries += 1
        client.send(NACK(message.tag, False, True))
        await asyncio.sleep(0.05)
    limit = rules().default_delivery_limit
    assert deliveries == (30 if limit is None else limit + 1)


# Queues and consumers that end.


async def test_consumers_are_cancelled_with_their_queue(client: PeerClient) -> None:
    await client.declare("q")
    client.publish("q", *BODIES)
    await client.qos(1)
    await client.consume("q", "c")
    [held] = await client.deliveries(1)
    deleted = await client.call(commands.Queue.Delete(queue="q"), commands.Queue.DeleteOk)
    assert deleted.message_count == 5
    cancelled = (await client.next(commands.Basic.Cancel)).method
    assert isinstance(cancelled, commands.Basic.Cancel)
    assert (cancelled.consumer_tag, cancelled.nowait) == ("c", True)
    client.send(commands.Basic.Ack(held.tag))  # no error
    await client.qos(1)


async def test_an_auto_delete_queue_ends_with_its_last_consumer(client: PeerClient) -> None:
    await client.declare("q", auto_delete=True)
    for tag in "ab":
        await client.consume("q", tag)
    await client.call(commands.Basic.Cancel("a"), commands.Basic.CancelOk)
    await client.declare("q", passive=True)
    await client.call(commands.Basic.Cancel("b"), commands.Basic.CancelOk)
    await asyncio.sleep(0.1)
    client.send(commands.Queue.Declare(queue="q", passive=True))
    assert (await client.closed())[0] == 404


async def test_an_exclusive_queue_belongs_to_its_connection(
    client: PeerClient, open_peer: OpenClient
) -> None:
    async with open_peer() as owner:
        await owner.declare("q", exclusive=True)
        for method in (
            commands.Queue.Declare(queue="q", passive=True),
            commands.Queue.Declare(queue="q", exclusive=True),
            commands.Basic.Consume(queue="q", consumer_tag="c"),
            commands.Basic.Get(queue="q"),
        ):
            client.send(method)
            code, text, _ = await client.closed()
            assert (code, text[:54]) == (
                405,
                "RESOURCE_LOCKED - cannot obtain exclusive access to lo",
            )
            await client.open_channel()
    client.send(commands.Queue.Declare(queue="q", passive=True))
    assert (await client.closed())[0] == 404


async def test_an_exclusive_consumer_is_alone(client: PeerClient) -> None:
    await client.declare("q")
    await client.consume("q", "a", channel=2, exclusive=True)
    for is_exclusive in (False, True):
        client.send(commands.Basic.Consume(queue="q", exclusive=is_exclusive))
        code, text, refused = await client.closed()
        assert (code, refused) == (403, (60, 20))
        assert text.startswith("ACCESS_REFUSED - queue 'q' in vhost '")
        assert text.endswith("' in exclusive use")
        await client.open_channel()


async def test_a_queue_expires_without_use(client: PeerClient) -> None:
    await client.declare("q", arguments={"x-expires": 200})
    await client.consume("q", "c")
    await asyncio.sleep(0.4)
    assert (await client.declare("q", passive=True)).consumer_count == 1
    await client.call(commands.Basic.Cancel("c"), commands.Basic.CancelOk)
    await asyncio.sleep(0.6)
    client.send(commands.Queue.Declare(queue="q", passive=True))
    assert (await client.closed())[0] == 404


# Refusals.


@pytest.mark.parametrize(
    ("method", "code", "text"),
    [
        (commands.Queue.Declare(queue="no", passive=True), 404, "NOT_FOUND - no queue 'no'"),
        (commands.Basic.Consume(queue="no"), 404, "NOT_FOUND - no queue 'no'"),
        (commands.Basic.Get(queue="no"), 404, "NOT_FOUND - no queue 'no'"),
        (
            commands.Exchange.Declare(exchange="no", passive=True),
            404,
            "NOT_FOUND - no exchange 'no'",
        ),
        (
            commands.Queue.Bind(queue="q", exchange="no", routing_key="k"),
            404,
            "NOT_FOUND - no exchange 'no'",
        ),
        (
            commands.Queue.Declare(queue="q", durable=True),
            406,
            "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q'",
        ),
        (
            commands.Queue.Declare(queue="q", arguments={"x-message-ttl": 5}),
            406,
            "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q'",
        ),
        (
            commands.Exchange.Declare(exchange="amq.topic", exchange_type="direct", durable=True),
            406,
            "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.topic'",
        ),
        (commands.Queue.Declare(queue="amq.x"), 403, "ACCESS_REFUSED - queue name 'amq.x'"),
        (commands.Exchange.Delete(exchange=""), 403, "ACCESS_REFUSED - "),
        (commands.Queue.Delete(queue="used", if_unused=True), 406, "PRECONDITION_FAILED - queue"),
        (commands.Queue.Delete(queue="used", if_empty=True), 406, "PRECONDITION_FAILED - queue"),
        (commands.Basic.Ack(7), 406, "PRECONDITION_FAILED - unknown delivery tag 7"),
        (commands.Basic.Nack(7), 406, "PRECONDITION_FAILED - unknown delivery tag 7"),
        (commands.Basic.Reject(7), 406, "PRECONDITION_FAILED - unknown delivery tag 7"),
        (commands.Basic.Get(queue="single"), 405, "RESOURCE_LOCKED - "),
        (
            commands.Queue.Declare(queue="new", arguments={"x-queue-type": "quorum"}),
            406,
            "PRECONDITION_FAILED - invalid property 'non-durable' for queue 'new'",
        ),
    ],
    ids=lambda each: f"{each.name}" if hasattr(each, "name") else None,
)
async def test_a_refused_method_closes_the_channel(
    client: PeerClient, method: Any, code: int, text: str
) -> None:
    await client.declare("q")
    await client.declare("used", channel=2)
    await client.qos(1, channel=2)
    await client.consume("used", "c", channel=2)
    client.publish("used", b"1", b"2", channel=2)
    await client.deliveries(1)
    single = {"x-queue-type": "quorum", "x-single-active-consumer": True}
    await client.declare("single", durable=True, arguments=single)
    client.send(method)
    closed = await client.closed()
    assert closed[0] == code
    assert closed[1].startswith(text)
    assert closed[2] == (method.index >> 16, method.index & 0xFFFF)
    await client.qos(1, channel=2)  # not affected
    await client.open_channel()


STREAM: dict[str, Any] = {"durable": True, "arguments": {"x-queue-type": "stream"}}


async def test_a_stream_has_no_get(client: PeerClient) -> None:
    await client.declare("stream", **STREAM)
    client.send(commands.Basic.Get(queue="stream"))
    code, text, refused = await client.closed(connection=True)
    assert (code, refused) == (540, (60, 70))
    assert text.startswith("NOT_IMPLEMENTED - basic.get not supported by stream queues")


async def test_a_consumer_tag_is_used_once_on_a_channel(client: PeerClient) -> None:
    await client.declare("q")
    await client.consume("q", "c", channel=2)
    await client.consume("q", "c", channel=1)
    client.send(commands.Basic.Consume(queue="q", consumer_tag="c"))
    code, text, _ = await client.closed(connection=True)
    assert (code, text) == (530, "NOT_ALLOWED - attempt to reuse consumer tag 'c'")


async def test_a_channel_that_is_not_open_ends_the_connection(client: PeerClient) -> None:
    client.send(commands.Basic.Qos(prefetch_count=1), channel=9)
    code, text, _ = await client.closed(connection=True)
    assert (code, text) == (504, "CHANNEL_ERROR - expected 'channel.open'")


async def test_a_channel_is_opened_once(client: PeerClient) -> None:
    client.send(commands.Channel.Open())
    code, text, _ = await client.closed(connection=True)
    assert (code, text) == (504, "CHANNEL_ERROR - second 'channel.open' seen")


async def test_an_unknown_type_of_exchange(client: PeerClient) -> None:
    client.send(commands.Exchange.Declare(exchange="e", exchange_type="x-none"))
    ends_connection = rules().unknown_type_ends_connection
    code, text, _ = await client.closed(connection=ends_connection)
    if ends_connection:
        assert (code, text) == (503, "COMMAND_INVALID - unknown exchange type 'x-none'")
    else:
        assert (code, text[:19]) == (406, "PRECONDITION_FAILED")


async def test_frames_on_a_refused_channel_are_ignored_until_close_ok(client: PeerClient) -> None:
    await client.declare("q")
    client.send(commands.Basic.Ack(7), commands.Basic.Ack(8), commands.Queue.Delete(queue="q"))
    client.publish("q", b"lost")
    client.publish("q", b"kept", channel=2)
    await client.until_ready("q", 1, channel=2)
    assert (await client.closed())[0] == 406
    await client.open_channel()
    assert await client.get_all("q") == [b"kept"]


# Publishing.


async def test_confirms_and_returns(client: PeerClient) -> None:
    await client.declare("q")
    await client.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
    client.publish("q", b"a", mandatory=True)
    client.publish("nowhere", b"b")
    client.publish("nowhere", b"c", mandatory=True, message_id="id", headers={"n": 5})
    confirmed: set[int] = set()
    while len(confirmed) < 3:
        ack = (await client.next(commands.Basic.Ack)).method
        assert isinstance(ack, commands.Basic.Ack)
        assert ack.delivery_tag
        confirmed.update(range(1 if ack.multiple else ack.delivery_tag, ack.delivery_tag + 1))
    returned = client.received[0]
    assert isinstance(returned.method, commands.Basic.Return)
    assert dict(returned.method) == {
        "reply_code": 312,
        "reply_text": "NO_ROUTE",
        "exchange": "",
        "routing_key": "nowhere",
    }
    assert returned.body == b"c"
    assert returned.headers == {"n": 5}
    assert len(client.received) == 1


async def test_a_return_comes_before_its_confirm(client: PeerClient) -> None:
    await client.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
    client.publish("nowhere", b"", mandatory=True)
    await client.next(commands.Basic.Return)
    await client.next(commands.Basic.Ack)
    assert not client.received


async def test_a_missing_exchange_closes_the_channel(client: PeerClient) -> None:
    client.publish("k", b"a", exchange="no")
    code, text, refused = await client.closed()
    assert (code, refused) == (404, (60, 40))
    assert text.startswith("NOT_FOUND - no exchange 'no'")


async def test_a_body_of_several_frames_arrives_whole(client: PeerClient) -> None:
    await client.declare("q")
    body = bytes(range(256)) * 600
    client.publish("q", b"", content_type="a/b", headers={"n": 1})
    first = await client.get("q", no_ack=True)
    assert first is not None
    assert (first.body, first.headers) == (b"", {"n": 1})
    client.publish("q", body)
    assert await client.get_all("q") == [body]


async def test_routing(client: PeerClient) -> None:
    for kind in ("direct", "fanout", "topic", "headers"):
        declare = commands.Exchange.Declare(exchange=kind, exchange_type=kind)
        await client.call(declare, commands.Exchange.DeclareOk)
    for queue in "abc":
        await client.declare(queue)
    await bind(client, "a", "direct", "k")
    await bind(client, "a", "fanout", "ignored")
    await bind(client, "b", "fanout", "")
    await bind(client, "a", "topic", "x.*.z")
    await bind(client, "b", "topic", "x.#")
    await bind(client, "b", "topic", "#.z")
    await bind(client, "c", "topic", "#")
    await bind(client, "a", "headers", "", arguments={"x-match": "any", "n": 1, "m": 2})
    await bind(client, "b", "headers", "", arguments={"n": 1, "m": 2})
    client.publish("k", b"1", exchange="direct")
    client.publish("j", b"2", exchange="direct")
    client.publish("k", b"3", exchange="fanout")
    for number, key in enumerate(("x.y.z", "x", "x.z", "y", "")):
        client.publish(key, b"t%d" % number, exchange="topic")
    client.publish("", b"h1", exchange="headers", headers={"n": 1})
    client.publish("", b"h2", exchange="headers", headers={"n": 1, "m": 2})
    assert await client.get_all("a") == [b"1", b"3", b"t0", b"h1", b"h2"]
    assert await client.get_all("b") == [b"3", b"t0", b"t1", b"t2", b"h2"]
    assert await client.get_all("c") == [b"t0", b"t1", b"t2", b"t3", b"t4"]


async def test_rejected_and_expired_messages_are_dead_lettered(client: PeerClient) -> None:
    await client.declare("dead")
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    await client.declare("q", arguments={**letters, "x-message-ttl": 100, "x-max-length": 2})
    client.publish("q", b"dropped", b"expired")
    client.publish("q", b"expired too", headers={"n": 1})
    await client.until_ready("dead", 3)
    client.publish("q", b"rejected")
    message = await client.get("q")
    assert message is not None
    client.send(commands.Basic.Reject(message.tag, False))
    await client.until_ready("dead", 4)
    reasons = {}
    for _ in range(4):
        letter = await client.get("dead")
        assert letter is not None
        [death] = letter.headers["x-death"]
        assert (death["queue"], death["exchange"], death["count"]) == ("q", "", 1)
        assert death["routing-keys"] == ["q"]
        assert letter.headers["x-first-death-reason"] == death["reason"]
        reasons[letter.body] = death["reason"]
    assert reasons == {
        b"dropped": "maxlen",
        b"expired": "expired",
        b"expired too": "expired",
        b"rejected": "rejected",
    }


async def test_a_full_queue_may_refuse(client: PeerClient) -> None:
    await client.declare("q", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    await client.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
    client.publish("q", b"a")
    await client.next(commands.Basic.Ack)
    client.publish("q", b"b")
    await client.next(commands.Basic.Nack)
    assert await client.get_all("q") == [b"a"]


async def set_alarm(request: pytest.FixtureRequest, url: str, *, is_on: bool) -> None:
    """Have the broker block publishers, or end that."""
    memory = MEMORY.get(parse_broker_url(url).aiormq.host or "")
    if memory is not None:
        (memory.block if is_on else memory.unblock)()
        return
    broker: Broker = request.getfixturevalue("broker")
    share = "0.0000001" if is_on else "0.4"
    await to_thread.run_sync(broker.ctl, "set_vm_memory_high_watermark", share)


async def test_an_alarm_blocks_a_connection_that_publishes(
    request: pytest.FixtureRequest, any_url: str, client: PeerClient
) -> None:
    await client.declare("q")
    client.publish("q", b"0")
    await client.until_ready("q", 1)
    await set_alarm(request, any_url, is_on=True)
    try:
        await client.until_ready("q", 1)
        assert not client.received
        client.publish("q", b"1")
        client.publish("q", b"2")
        await client.next(commands.Connection.Blocked)
        client.send(commands.Basic.Qos(prefetch_count=1))
        await asyncio.sleep(0.1)
        assert not client.received
    finally:
        await set_alarm(request, any_url, is_on=False)
    await client.next(commands.Connection.Unblocked)
    await client.next(commands.Basic.QosOk)
    await client.until_ready("q", 3)


async def test_an_operator_closes_a_connection(
    request: pytest.FixtureRequest, any_url: str, client: PeerClient
) -> None:
    memory = MEMORY.get(parse_broker_url(any_url).aiormq.host or "")
    if memory is not None:
        memory.close_connections()
    else:
        await close_connections(request.getfixturevalue("broker"), any_url)
    code, text, _ = await client.closed(connection=True)
    assert (code, text[:19]) == (320, "CONNECTION_FORCED -")
