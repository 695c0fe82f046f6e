"""Schemas, expressions and templates around the queues of a real RabbitMQ."""

from __future__ import annotations

from typing import Any

import aiormq
import pytest
from anyio import create_task_group, wait_all_tasks_blocked
from pamqp.commands import Basic

from bench.process import agent, consumer, endpoint, producer
from gateway.core.asgi import ASGIApp
from gateway.core.bridge import AsyncioSide
from tests.router.support import Reply, ask

from .amqp import gateway_for, publish, until_count

pytestmark = pytest.mark.anyio


def cel(text: str) -> dict[str, Any]:
    return {"validation/cel": [{"check_expr": text}]}


def with_extra(backend: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    return {**backend, "extra_config": {**backend["extra_config"], **extra}}


async def drain(url: str, queue: str) -> list[tuple[bytes, str | None]]:
    """Body and content type of what is in the queue. Runs under asyncio."""
    found = []
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        while isinstance(
            (message := await channel.basic_get(queue, no_ack=True)).delivery, Basic.GetOk
        ):
            found.append((bytes(message.body), message.header.properties.content_type))
    return found


async def test_only_valid_bodies_are_published(side: AsyncioSide, vhost_url: str) -> None:
    schema = {"type": "object", "required": ["n"]}
    checked = endpoint(
        "/p",
        producer(vhost_url, "ex"),
        method="POST",
        extra_config={"validation/json-schema": schema},
    )
    async with gateway_for(checked) as app:
        statuses = [
            (await ask(app, "POST", "/p", body)).status for body in (b'{"n":1}', b"{}", b"")
        ]
    assert statuses == [200, 400, 400]
    assert await side.run(drain, vhost_url, "q") == [(b'{"n":1}', None)]


async def test_a_template_writes_the_message(side: AsyncioSide, vhost_url: str) -> None:
    generator = {
        "template": "{{ req_params.Id }}: {{ req_body.n }}",
        "content_type": "text/plain",
    }
    backend = with_extra(producer(vhost_url, "ex"), {"modifier/request-body-generator": generator})
    async with gateway_for(endpoint("/p/{id}", backend, method="POST")) as app:
        assert (await ask(app, "POST", "/p/7", b'{"n":1}')).status == 200
    assert await side.run(drain, vhost_url, "q") == [(b"7: 1", "text/plain")]


async def test_a_request_for_which_an_expression_is_false_takes_no_message(
    side: AsyncioSide, vhost_url: str
) -> None:
    refused = with_extra(consumer(vhost_url, "a"), cel("has(req_params.Never)"))
    async with gateway_for(
        endpoint("/refused", refused), endpoint("/a", consumer(vhost_url, "a"))
    ) as app:
        await side.run(publish, vhost_url, "a", [b'{"a":1}'])
        assert (await ask(app, "GET", "/refused")).status == 500
        assert (await ask(app, "GET", "/a")).json() == {"a": 1}
    await until_count(side, vhost_url, "a", 0)


CHECKS = {
    "expression": cel("int(resp_data.a) > 1"),
    "schema": {
        "validation/response-json-schema": {"schema": {"properties": {"a": {"minimum": 2}}}}
    },
}


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(("check", "level"), [("expression", "backend"), ("schema", "endpoint")])
async def test_a_message_whose_response_fails_blocks_no_other_and_comes_back(
    side: AsyncioSide, vhost_url: str, check: str, level: str, waits: bool
) -> None:
    backend, extra = consumer(vhost_url, "a"), CHECKS[check]
    if level == "backend":
        checked = endpoint("/checked", with_extra(backend, extra))
    else:
        checked = endpoint("/checked", backend, extra_config=extra)
    messages = [b'{"a":1}', b'{"a":2}']
    async with gateway_for(checked, endpoint("/a", backend)) as app:
        if waits:  # requested before there is a message
            replies: list[Reply] = []
            async with create_task_group() as requests:
                requests.start_soon(_ask, app, replies)
                await wait_all_tasks_blocked()
                await side.run(publish, vhost_url, "a", messages)
            [reply] = replies
        else:
            await side.run(publish, vhost_url, "a", messages)
            reply = await ask(app, "GET", "/checked")
        assert reply.status == 500
        assert (await ask(app, "GET", "/checked")).json() == {"a": 2}
        assert (await ask(app, "GET", "/a")).json() == {"a": 1}
    await until_count(side, vhost_url, "a", 0)


async def _ask(app: ASGIApp, replies: list[Reply]) -> None:
    replies.append(await ask(app, "GET", "/checked"))


async def test_an_invalid_message_of_an_agent_reaches_no_backend(
    side: AsyncioSide, vhost_url: str
) -> None:
    settings = agent(
        vhost_url,
        "from",
        producer(vhost_url, "to", name="to"),
        max_redeliveries=1,
        retry={"delay": "10ms"},
        dead_letter={"exchange": "", "routing_key": "failed"},
    )
    schema = {"validation/json-schema": {"type": "object"}}
    settings["extra_config"].update(schema)
    failed = endpoint("/failed", consumer(vhost_url, "failed"))
    async with gateway_for(failed, async_agent=[settings]) as app:
        await side.run(publish, vhost_url, "from", [b"[]", b'{"n":1}', b"no"])
        assert {(await ask(app, "GET", "/failed")).status for _ in range(2)} == {502}
        await until_count(side, vhost_url, "to", 1)
    assert [body for body, _ in await side.run(drain, vhost_url, "to")] == [b'{"n":1}']
