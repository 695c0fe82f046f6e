"""The broker refuses a message by closing its channel: that message fails, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import aiormq
import pytest
from anyio import create_task_group, sleep, to_thread

from bench.process import configuration, producer
from gateway.app.service import open_gateway
from gateway.core.asgi import ASGIApp
from gateway.core.bridge import AsyncioSide
from gateway.demo.broker import Broker
from tests.router.support import Reply, ask

from .amqp import add_user, close_connections, gateway_for, until
from .test_producer import drain, post

pytestmark = pytest.mark.anyio

ALLOWED = "^allowed"
DEFAULT_MAX_SIZE = 134_217_728
WITH_ERROR_TEXT = {"extra_config": {"router": {"return_error_msg": True}}}


def dynamic(url: str, **changes: Any) -> dict[str, Any]:
    """A producer whose routing key is in the path."""
    keys = {"name": "", "routing_key": "key", "static_routing_key": False}
    return producer(url, "ex", **{**keys, **changes})


def binding(url: str) -> dict[str, Any]:
    """An endpoint for the queue that gets every message."""
    return post("/bind", producer(url, "ex", routing_key="#"))


@contextmanager
def max_message_size(broker: Broker, size: int) -> Generator[None]:
    # RabbitMQ 3 reads it in the first place, 4 in the second one.
    set_size = (
        "application:set_env(rabbit, max_message_size, {0}), "
        "persistent_term:put(max_message_size, {0})."
    )
    broker.ctl("eval", set_size.format(size))
    try:
        yield
    finally:
        broker.ctl("eval", set_size.format(DEFAULT_MAX_SIZE))


class Publishers:
    """Clients that publish one message after the other."""

    def __init__(self, app: ASGIApp) -> None:
        self.statuses: Counter[int] = Counter()
        self.bodies: list[bytes] = []
        self._app = app

    async def publish(self, worker: int, messages: int) -> None:
        for number in range(messages):
            body = b"%d-%d" % (worker, number)
            reply = await ask(self._app, "POST", f"/p/allowed.{worker}", body)
            self.statuses[reply.status] += 1
            if reply.status == 200:
                self.bodies.append(body)


class Offender:
    """A client that goes on publishing what it may not."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self.statuses: Counter[int] = Counter()
        self._app = app
        self._path = path
        self._is_over = False

    async def publish(self) -> None:
        number = 0
        while not self._is_over:
            number += 1
            reply = await ask(self._app, "POST", self._path.format(number), b"bad")
            self.statuses[reply.status] += 1

    def stop(self) -> None:
        self._is_over = True


async def test_a_forbidden_routing_key_fails_for_its_own_requests_alone(
    side: AsyncioSide, vhost_url: str, broker: Broker
) -> None:
    user = await to_thread.run_sync(lambda: add_user(broker, vhost_url, topics=ALLOWED))
    replies: dict[str, Reply] = {}
    async with gateway_for(
        post("/p/{key}", dynamic(user), timeout="10s"), binding(vhost_url), **WITH_ERROR_TEXT
    ) as app:

        async def one(key: str) -> None:
            replies[key] = await ask(app, "POST", f"/p/{key}", key.encode())

        keys = [f"allowed.{number}" for number in range(59)]
        async with create_task_group() as requests:
            for key in [*keys[:30], "forbidden", *keys[30:]]:
                requests.start_soon(one, key)
    assert {key: reply.status for key, reply in replies.items() if reply.status != 200} == {
        "forbidden": 503
    }
    assert b"access to topic 'forbidden' in exchange 'ex'" in replies["forbidden"].body
    arrived = {body.decode() for body in await side.run(drain, vhost_url, "q")}
    assert arrived == set(keys)


@pytest.mark.parametrize("path", ["/p/forbidden", "/p/forbidden.{}"])
async def test_a_client_that_repeats_forbidden_keys_does_not_affect_others(
    side: AsyncioSide, vhost_url: str, broker: Broker, path: str
) -> None:
    user = await to_thread.run_sync(lambda: add_user(broker, vhost_url, topics=ALLOWED))
    async with gateway_for(
        post("/p/{key}", dynamic(user), timeout="20s"), binding(vhost_url)
    ) as app:
        publishers, offender = Publishers(app), Offender(app, path)
        async with create_task_group() as clients:
            clients.start_soon(offender.publish)
            async with create_task_group() as others:
                for worker in range(50):
                    others.start_soon(publishers.publish, worker, 20)
            await until(lambda: offender.statuses)
            offender.stop()
    assert publishers.statuses == {200: 1000}
    assert set(offender.statuses) == {503}
    arrived = set(await side.run(drain, vhost_url, "q"))
    assert arrived == set(publishers.bodies)


async def test_a_message_above_the_size_of_the_broker_is_a_413_and_no_other_fails(
    side: AsyncioSide, vhost_url: str, broker: Broker
) -> None:
    large, small = b"x" * 1001, b"x" * 1000
    with max_message_size(broker, 1000):
        async with gateway_for(
            post("/p", producer(vhost_url, "ex"), timeout="10s"), **WITH_ERROR_TEXT
        ) as app:
            replies: list[tuple[int, int]] = []

            async def one(body: bytes) -> None:
                reply = await ask(app, "POST", "/p", body)
                replies.append((len(body), reply.status))
                if body is large:
                    assert b"larger than" in reply.body

            async with create_task_group() as requests:
                for number in range(60):
                    requests.start_soon(one, large if number % 10 == 3 else small)
            await one(large)
    assert Counter(replies) == {(1001, 413): 7, (1000, 200): 54}
    assert set(await side.run(drain, vhost_url, "q")) == {small}


async def test_a_missing_exchange_that_is_not_declared_is_a_503_with_the_text_of_the_broker(
    vhost_url: str,
) -> None:
    missing = producer(vhost_url, "missing", declare="none")
    async with gateway_for(post("/p", missing, timeout="30s"), **WITH_ERROR_TEXT) as app:
        for _ in range(3):
            reply = await ask(app, "POST", "/p", b"x")
            assert reply.status == 503
            assert b"no exchange 'missing'" in reply.body


async def delete_exchange(url: str) -> None:
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        await channel.exchange_delete("ex")


async def test_an_exchange_that_was_deleted_is_declared_again(
    side: AsyncioSide, vhost_url: str
) -> None:
    async with gateway_for(post("/p", producer(vhost_url, "ex"), timeout="10s")) as app:
        assert (await ask(app, "POST", "/p", b"1")).status == 200
        await side.run(delete_exchange, vhost_url)
        assert (await ask(app, "POST", "/p", b"2")).status == 200
    assert set(await side.run(drain, vhost_url, "q")) == {b"1", b"2"}


async def test_a_permission_that_is_withdrawn_or_granted_counts_from_then_on(
    vhost_url: str, broker: Broker
) -> None:
    def user_may(topics: str) -> str:
        return add_user(broker, vhost_url, topics=topics)

    user = await to_thread.run_sync(user_may, ALLOWED)
    async with gateway_for(post("/p/{key}", dynamic(user), timeout="10s")) as app:

        async def status_of(key: str) -> int:
            return (await ask(app, "POST", f"/p/{key}", b"x")).status

        async def until_status(key: str, status: int) -> None:
            # RabbitMQ's channel forgets what a user may do when it is idle for a second or more.
            while await status_of(key) != status:
                await sleep(2)

        assert [await status_of(key) for key in ("allowed", "other", "allowed")] == [200, 503, 200]
        await to_thread.run_sync(user_may, "^other")
        await until_status("other", 200)
        await until_status("allowed", 503)


async def test_a_publisher_goes_on_when_the_connection_drops_after_a_refusal(
    side: AsyncioSide, vhost_url: str, broker: Broker
) -> None:
    user = await to_thread.run_sync(lambda: add_user(broker, vhost_url, topics=ALLOWED))
    config = configuration(post("/p/{key}", dynamic(user), timeout="20s"), binding(vhost_url))
    async with open_gateway(config) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        app = gateway.asgi
        publishers, offender = Publishers(app), Offender(app, "/p/forbidden.{}")
        async with create_task_group() as clients:
            clients.start_soon(offender.publish)
            async with create_task_group() as others:
                for worker in range(20):
                    others.start_soon(publishers.publish, worker, 30)
                await until(lambda: offender.statuses)
                await close_connections(broker, vhost_url)
            offender.stop()
    assert publishers.statuses == {200: 600}
    assert set(await side.run(drain, vhost_url, "q")) == set(publishers.bodies)
