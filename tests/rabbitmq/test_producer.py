"""Publishing through the whole gateway to a real RabbitMQ, in good days and bad ones."""

from __future__ import annotations

from collections import Counter
from typing import Any

import aiormq
import pytest
from anyio import create_task_group, sleep, to_thread
from pamqp.commands import Basic

from bench.process import configuration, consumer, endpoint, producer
from gateway.app.service import Gateway, open_gateway
from gateway.core.asgi import ASGIApp
from gateway.core.bridge import AsyncioSide
from gateway.demo.broker import Broker
from tests.router.support import Client, Reply, ask, http_scope

from .amqp import close_connections, gateway_for, publish, until, until_count

pytestmark = pytest.mark.anyio

UNREACHABLE_BROKER = "amqp://127.0.0.1:1/"


def post(path: str, *backends: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return endpoint(path, *backends, method="POST", **changes)


async def ask_all(app: ASGIApp, targets: list[str], bodies: list[bytes]) -> list[Reply]:
    """All at once; the answers in the order of the requests."""
    replies: dict[int, Reply] = {}

    async def one(number: int) -> None:
        replies[number] = await ask(app, "POST", targets[number], bodies[number])

    async with create_task_group() as requests:
        for number in range(len(targets)):
            requests.start_soon(one, number)
    return [replies[number] for number in range(len(targets))]


async def drain(url: str, queue: str) -> list[bytes]:
    """What is in the queue. Runs under asyncio."""
    bodies = []
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        while isinstance(
            (message := await channel.basic_get(queue, no_ack=True)).delivery, Basic.GetOk
        ):
            bodies.append(bytes(message.body))
    return bodies


async def declare(url: str, queue: str, arguments: dict[str, Any]) -> None:
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        await channel.queue_declare(queue, durable=True, arguments=arguments)


def numbered(number: int) -> list[bytes]:
    return [b"%d" % each for each in range(number)]


@pytest.mark.parametrize("size", [0, 1, 65_536, 131_065, 3_000_000, 16 * 1024 * 1024])
async def test_a_body_of_any_size_is_in_the_queue(
    side: AsyncioSide, vhost_url: str, size: int
) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with gateway_for(post("/p", producer(vhost_url, "ex"))) as app:
        reply = await ask(app, "POST", "/p", body)
    assert (reply.status, reply.json()) == (200, {})
    assert reply.headers["x-krakend-completed"] == "true"
    assert await side.run(drain, vhost_url, "q") == [body]


async def test_many_at_once_arrive_once_each(side: AsyncioSide, vhost_url: str) -> None:
    async with gateway_for(post("/p", producer(vhost_url, "ex"))) as app:
        replies = await ask_all(app, ["/p"] * 1000, numbered(1000))
    assert {reply.status for reply in replies} == {200}
    assert Counter(await side.run(drain, vhost_url, "q")) == Counter(numbered(1000))


@pytest.mark.parametrize(("field", "statuses"), [("id", (200, 500)), ("none", (500, 500))])
async def test_in_a_sequence_a_producer_gets_its_routing_key_from_an_earlier_answer(
    side: AsyncioSide, vhost_url: str, field: str, statuses: tuple[int, int]
) -> None:
    """Where the answer has no such value, nothing is published and the whole answer fails."""
    keyed = producer(
        vhost_url, "ex", name="", routing_key=f"{{resp0_{field}}}", static_routing_key=False
    )
    async with gateway_for(
        post(
            "/p",
            consumer(vhost_url, "source"),
            keyed,
            extra_config={"proxy": {"sequential": True}},
            timeout="10s",
        ),
        post("/bind", producer(vhost_url, "ex", routing_key="q1")),
    ) as app:
        await side.run(publish, vhost_url, "source", [b'{"id": "q1"}', b'{"other": 1}'])
        replies = [await ask(app, "POST", "/p", b"x") for _ in range(2)]
    assert tuple(reply.status for reply in replies) == statuses
    assert await side.run(drain, vhost_url, "q") == [b"x"] * statuses.count(200)


async def test_in_a_sequence_a_producer_publishes_the_whole_answer_of_a_no_op_backend(
    side: AsyncioSide, vhost_url: str
) -> None:
    first = {**consumer(vhost_url, "source"), "encoding": "no-op"}
    second = producer(vhost_url, "ex")
    template = {"template": "<{{ req_params.Resp0 }}>", "content_type": "text/plain"}
    second["extra_config"]["modifier/request-body-generator"] = template
    settings = {"sequential": True, "sequential_propagated_params": ["resp0"]}
    pipe = post("/p", first, second, extra_config={"proxy": settings}, timeout="10s")
    async with gateway_for(pipe) as app:
        await side.run(publish, vhost_url, "source", [b"no JSON"])
        assert (await ask(app, "POST", "/p", b"x")).status == 200
    assert await side.run(drain, vhost_url, "q") == [b"<no JSON>"]


async def test_a_routing_key_that_the_client_leaves_out_is_a_400_that_names_it(
    side: AsyncioSide, vhost_url: str
) -> None:
    keyed = producer(vhost_url, "ex", name="", routing_key="{query.k}", static_routing_key=False)
    async with gateway_for(
        post("/p", keyed, input_query_strings=["k"]),
        post("/bind", producer(vhost_url, "ex", routing_key="#")),
    ) as app:
        reply = await ask(app, "POST", "/p", b"x")
    assert (reply.status, reply.body) == (400, b"query.k: missing, it is the routing key")
    assert await side.run(drain, vhost_url, "q") == []


async def test_each_unroutable_message_is_a_422_and_no_other(
    side: AsyncioSide, vhost_url: str
) -> None:
    backend = producer(vhost_url, "ex", routing_key="key", static_routing_key=False, mandatory=True)
    targets = ["/p/nowhere" if number % 10 == 3 else "/p/key" for number in range(1000)]
    async with gateway_for(
        post("/p/{key}", backend), post("/bind", producer(vhost_url, "ex"))
    ) as app:
        replies = await ask_all(app, targets, numbered(1000))
    wanted = [422 if target == "/p/nowhere" else 200 for target in targets]
    assert [reply.status for reply in replies] == wanted
    arrived = {int(body) for body in await side.run(drain, vhost_url, "q")}
    assert arrived == {number for number in range(1000) if wanted[number] == 200}


async def test_a_returned_message_is_identified_among_equal_message_ids(
    side: AsyncioSide, vhost_url: str
) -> None:
    backend = producer(
        vhost_url,
        "ex",
        routing_key="key",
        static_routing_key=False,
        mandatory=True,
        msg_id_key="{query.id}",
    )
    targets = [f"/p/{'key' if number % 2 else 'nowhere'}?id=same" for number in range(100)]
    async with gateway_for(
        post("/p/{key}", backend), post("/bind", producer(vhost_url, "ex"))
    ) as app:
        replies = await ask_all(app, targets, numbered(100))
    assert [reply.status for reply in replies] == [422, 200] * 50


async def test_a_message_that_the_queue_rejects_is_a_503(side: AsyncioSide, vhost_url: str) -> None:
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    async with gateway_for(post("/p", producer(vhost_url, "ex", arguments=full))) as app:
        first = await ask(app, "POST", "/p", b"first")
        second = await ask(app, "POST", "/p", b"second")
    assert (first.status, second.status) == (200, 503)
    assert second.headers["retry-after"] == "1"
    assert await side.run(drain, vhost_url, "q") == [b"first"]


async def test_messages_in_flight_when_the_connection_is_lost_are_sent_again(
    side: AsyncioSide, vhost_url: str, broker: Broker
) -> None:
    async with gateway_for(post("/p", producer(vhost_url, "ex"), timeout="20s")) as app:
        statuses: list[int] = []

        async def keep_asking(worker: int) -> None:
            for number in range(300):
                body = b"%d" % (worker * 300 + number)
                statuses.append((await ask(app, "POST", "/p", body)).status)

        async with create_task_group() as tasks:
            for worker in range(10):
                tasks.start_soon(keep_asking, worker)
            for _ in range(2):
                await close_connections(broker, vhost_url)
    assert set(statuses) == {200}
    assert {int(body) for body in await side.run(drain, vhost_url, "q")} == set(range(3000))


async def test_while_an_alarm_blocks_publishers_nothing_is_confirmed(
    side: AsyncioSide, vhost_url: str, broker: Broker
) -> None:
    async with gateway_for(post("/p", producer(vhost_url, "ex"), timeout="500ms")) as app:
        await to_thread.run_sync(broker.ctl, "set_vm_memory_high_watermark", "0.0000001")
        try:
            first = await ask(
                app, "POST", "/p", b"first"
            )  # RabbitMQ blocks only connections that publish
            later = [await ask(app, "POST", "/p", b"later") for _ in range(2)]
        finally:
            await to_thread.run_sync(broker.ctl, "set_vm_memory_high_watermark", "0.4")
        assert first.status in (503, 504)
        assert [reply.status for reply in later] == [503, 503]
        await sleep(0.3)
        assert (await ask(app, "POST", "/p", b"well")).status == 200
    left = await side.run(drain, vhost_url, "q")
    assert b"later" not in left
    assert b"well" in left


async def test_without_a_broker_requests_wait_until_their_deadline() -> None:
    config = configuration(post("/p", producer(UNREACHABLE_BROKER, "ex"), timeout="300ms"))
    async with open_gateway(config) as gateway:
        reply = await ask(gateway.asgi, "POST", "/p", b"x")
        assert reply.status == 503
        assert reply.headers["retry-after"] == "1"
        await until(lambda: _publisher(gateway)["waiting"] == 0)


async def test_a_bound_on_unconfirmed_messages_makes_the_others_wait(
    side: AsyncioSide, vhost_url: str
) -> None:
    few = {"gateway": {"max_unconfirmed": 3}}
    backends = [producer(vhost_url, "e1"), producer(vhost_url, "e2", name="q2")]
    async with gateway_for(post("/p", *backends), extra_config=few) as app:
        replies = await ask_all(app, ["/p"] * 300, numbered(300))
    assert {reply.status for reply in replies} == {200}
    for queue in ("q", "q2"):
        assert Counter(await side.run(drain, vhost_url, queue)) == Counter(numbered(300))


async def test_one_refused_message_fails_the_whole_answer_and_gives_back_what_was_taken(
    side: AsyncioSide, vhost_url: str
) -> None:
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    backends = [
        consumer(vhost_url, "source"),
        producer(vhost_url, "e1"),
        producer(vhost_url, "e2", name="full", arguments=full),
    ]
    async with gateway_for(post("/p", *backends)) as app:
        await side.run(publish, vhost_url, "source", [b'{"n":1}', b'{"n":2}'])
        first = await ask(app, "POST", "/p", b"x")
        second = await ask(app, "POST", "/p", b"x")
    assert (first.status, first.json()) == (200, {"n": 1})
    assert second.status == 503
    await until_count(side, vhost_url, "source", 1)
    assert await side.run(drain, vhost_url, "q") == [b"x", b"x"]


async def test_a_queue_that_exists_differently_is_used_as_it_is(
    side: AsyncioSide, vhost_url: str
) -> None:
    await side.run(declare, vhost_url, "q", {"x-max-length": 5})
    async with gateway_for(post("/p", producer(vhost_url, "ex"))) as app:
        assert (await ask(app, "POST", "/p", b"x")).status == 200
    assert await side.run(drain, vhost_url, "q") == [b"x"]


async def test_a_refused_exchange_does_not_affect_other_exchanges(
    side: AsyncioSide, vhost_url: str
) -> None:
    config = configuration(
        post("/good", producer(vhost_url, "good"), timeout="5s"),
        post("/bad", producer(vhost_url, "bad", exchange_type="x-none"), timeout="500ms"),
    )
    async with open_gateway(config) as gateway:
        assert (await ask(gateway.asgi, "POST", "/bad", b"x")).status == 503
        for _ in range(5):
            assert (await ask(gateway.asgi, "POST", "/good", b"x")).status == 200
            await sleep(0.1)
    assert await side.run(drain, vhost_url, "q") == [b"x"] * 5


@pytest.mark.parametrize("contradiction", [{"durable": False}, {"exchange_type": "direct"}])
async def test_a_producer_that_declares_an_exchange_differently_does_not_affect_others(
    side: AsyncioSide, vhost_url: str, contradiction: dict[str, Any]
) -> None:
    good = post("/good", producer(vhost_url, "ex"), timeout="10s")
    async with gateway_for(good):
        """The exchange is there."""
    bad = post("/bad", producer(vhost_url, "ex", **contradiction), timeout="500ms")
    with_error_text = {"router": {"return_error_msg": True}}
    async with open_gateway(configuration(bad, good, extra_config=with_error_text)) as gateway:
        reply = await ask(gateway.asgi, "POST", "/bad", b"x")
        assert reply.status == 503
        assert b"inequivalent arg" in reply.body
        assert (await ask(gateway.asgi, "POST", "/good", b"x")).status == 200
    assert await side.run(drain, vhost_url, "q") == [b"x"]


class Leaving(Client):
    """Disconnects after it has sent its body."""

    async def receive(self) -> dict[str, Any]:
        if not self._body:
            return {"type": "http.disconnect"}
        return await super().receive()


async def test_the_message_of_a_disconnected_client_is_published(
    side: AsyncioSide, vhost_url: str
) -> None:
    config = configuration(post("/p", producer(vhost_url, "ex")))
    async with open_gateway(config) as gateway:
        client = Leaving([b"x"])  # the broker is not connected yet, so the request waits
        await gateway.asgi(http_scope("POST", "/p"), client.receive, client.send)
        assert client.sent == []
        await until(lambda: gateway.readiness()["ready"])
        await until_count(side, vhost_url, "q", 1)


async def test_the_messages_of_disconnected_clients_that_wait_for_a_broker_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.amqp.publish.publisher.MAX_ABANDONED_MESSAGES", 2)

    config = configuration(post("/p", producer("amqp://127.0.0.1:1", "ex")))
    async with open_gateway(config) as gateway:
        for _ in range(5):
            client = Leaving([b"x"])
            await gateway.asgi(http_scope("POST", "/p"), client.receive, client.send)
        await until(lambda: _publisher(gateway)["waiting"] == 2)


def _publisher(gateway: Gateway) -> Any:
    (link,) = gateway.readiness()["resources"]
    (channel,) = link["channels"]
    return channel
