"""One recorded AMQP case: its own virtual host, its own gateway, its steps in order."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiormq
import httpx
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from bench.process import GatewayProcess
from gateway.broker import Broker

from .matchers import differences
from .proxy import BrokerProxy

Step = dict[str, Any]
REPEATED = {"count", "topology", "proxy"}
"""Observations that need a moment to come true."""


class AmqpCase:
    def __init__(self, case: dict[str, Any], broker: Broker, url: str, folder: Path) -> None:
        self._case = case
        self._broker = broker
        self._url = url
        self._folder = folder
        self._proxy = BrokerProxy(broker.port)
        self._gateway: GatewayProcess | None = None
        self._requests: dict[str, asyncio.Task[Any]] = {}

    @property
    def gateway(self) -> GatewayProcess:
        assert self._gateway is not None
        return self._gateway

    async def run(self) -> list[str]:
        """What differs from what is wanted."""
        wanted = {**self._case["expect"], **self._case.get("want", {})}
        problems: list[str] = []
        await self._proxy.up()
        try:
            steps = [*self._case.get("setup", []), *self._start(), *self._case["steps"]]
            for step in steps:
                got = await STEPS[step["do"]](self, step)
                if step.get("as") and wanted.get(step["as"]) is not None:
                    problems += await self._compare(step, got, wanted[step["as"]])
        finally:
            for request in self._requests.values():
                request.cancel()
            if self._gateway is not None:
                await asyncio.to_thread(self._gateway.stop, signal.SIGKILL)
            await self._proxy.down()
        return problems

    def _start(self) -> list[Step]:
        return [{"do": "gateway_start"}] if self._case.get("start", True) else []

    async def _compare(self, step: Step, got: Any, wanted: Any) -> list[str]:
        deadline = time.monotonic() + 6
        problems = differences(wanted, got, step["as"])
        while problems and step["do"] in REPEATED and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            got = await STEPS[step["do"]](self, step)
            problems = differences(wanted, got, step["as"])
        return problems

    def _filled(self, document: Any) -> Any:
        through = re.sub(r":\d+/", f":{self._proxy.port}/", self._url)
        values = {
            "amqp_url": through if self._case.get("proxy") else self._url,
            "bad_url": self._url.replace("guest:guest@", "guest:wrong@"),
        }
        text = json.dumps(document).replace('"{port}"', "0")
        for name, value in values.items():
            text = text.replace("{" + name + "}", value)
        return json.loads(text)

    # The gateway.

    async def gateway_start(self, step: Step) -> Any:
        config = self._filled(self._case["config"])
        self._gateway = GatewayProcess(config, self._folder)
        await asyncio.to_thread(self._gateway.start)
        await asyncio.sleep(0.15)
        return {"started": True, "exited": False}

    async def gateway_stop(self, step: Step) -> Any:
        await asyncio.to_thread(self.gateway.stop, signal.SIGTERM, step.get("limit", 8))
        return {"exited": True}

    async def gateway_kill(self, step: Step) -> Any:
        await asyncio.to_thread(self.gateway.stop, signal.SIGKILL)
        return {"exited": True}

    # Requests.

    async def http(self, step: Step) -> Any:
        began = time.monotonic()
        body = step["body"].encode() if "body" in step else None
        async with httpx.AsyncClient(timeout=step.get("timeout", 10)) as client:
            try:
                answer = await client.request(
                    step.get("method", "GET"),
                    self.gateway.url + step["path"],
                    content=body,
                    headers=step.get("headers"),
                )
            except httpx.TransportError:
                return {"status": 0, "ms": _since(began)}
        got = {
            "status": answer.status_code,
            "ms": _since(began),
            "headers": dict(answer.headers),
            "text": answer.text,
        }
        with suppress(ValueError):
            got["json"] = answer.json()
        return got

    async def many(self, step: Step) -> Any:
        turns = asyncio.Semaphore(step.get("parallel", 1))
        answers: list[Any] = []

        async def one() -> None:
            async with turns:
                answers.append(await self.http(step))

        await asyncio.gather(*(one() for _ in range(step["n"])))
        statuses: dict[str, int] = {}
        for answer in answers:
            status = str(answer["status"])
            statuses[status] = statuses.get(status, 0) + 1
        jsons = [answer.get("json") for answer in answers if answer["status"] == 200]
        return {"statuses": statuses, "jsons": jsons}

    async def until(self, step: Step) -> Any:
        began = time.monotonic()
        while time.monotonic() - began < step.get("within", 10):
            answer = await self.http(step)
            if answer["status"] == step["status"]:
                return {"reached": True, "json": answer.get("json")}
            await asyncio.sleep(step.get("every", 0.2))
        return {"reached": False}

    async def start(self, step: Step) -> None:
        self._requests[step["id"]] = asyncio.create_task(self.http(step))
        await asyncio.sleep(step.get("after", 0.2))

    async def join(self, step: Step) -> Any:
        return await self._requests.pop(step["id"])

    # The broker, never through the proxy.

    async def _with_channel(self, use: Callable[[AbstractChannel], Awaitable[Any]]) -> Any:
        async with aiormq.connect(self._url) as connection:
            return await use(await connection.channel())

    async def exchange(self, step: Step) -> None:
        kind = step.get("type", "topic")
        await self._with_channel(
            lambda it: it.exchange_declare(step["name"], exchange_type=kind, durable=True)
        )

    async def queue(self, step: Step) -> None:
        await self._with_channel(lambda it: it.queue_declare(step["name"], durable=True))

    async def delete_queue(self, step: Step) -> None:
        await self._with_channel(lambda it: it.queue_delete(step["name"]))

    async def publish(self, step: Step) -> None:
        properties = Basic.Properties(**{"delivery_mode": 2, **step.get("props", {})})

        async def use(channel: AbstractChannel) -> None:
            for message in step["messages"]:
                await channel.basic_publish(
                    _body(message),
                    exchange=step.get("exchange", ""),
                    routing_key=step.get("key", ""),
                    properties=properties,
                )

        await self._with_channel(use)

    async def drain(self, step: Step) -> Any:
        """Everything in the queue, once the gateway has gone."""

        async def use(channel: AbstractChannel) -> Any:
            bodies: list[str] = []
            quiet_since = time.monotonic()
            while time.monotonic() - quiet_since < 0.5:
                message = await channel.basic_get(step["queue"], no_ack=True)
                if isinstance(message.delivery, Basic.GetOk):
                    bodies.append(message.body.decode(errors="replace"))
                    quiet_since = time.monotonic()
                else:
                    await asyncio.sleep(0.05)
            return {"count": len(bodies), "bodies": bodies}

        return await self._with_channel(use)

    async def count(self, step: Step) -> Any:
        vhost = self._url.rsplit("/", 1)[1]
        columns = ("name", "messages_ready", "messages_unacknowledged", "consumers")
        arguments = ("list_queues", "-p", vhost, *columns, "--formatter", "json")
        rows = json.loads(await asyncio.to_thread(self._broker.ctl, *arguments))
        row = next(row for row in rows if row["name"] == step["queue"])
        ready, unacked = row["messages_ready"], row["messages_unacknowledged"]
        total = ready + unacked
        return {"ready": ready, "unacked": unacked, "total": total, "consumers": row["consumers"]}

    async def topology(self, step: Step) -> Any:
        vhost = self._url.rsplit("/", 1)[1]
        async with httpx.AsyncClient(base_url=self._broker.management_url) as management:
            exchanges, queues, bindings = [
                (await management.get(f"/api/{kind}/{vhost}?disable_stats=true")).json()
                for kind in ("exchanges", "queues", "bindings")
            ]
        of_exchange = ("type", "durable", "auto_delete", "internal")
        of_queue = ("durable", "auto_delete", "exclusive")
        return {
            "exchanges": {
                each["name"]: {key: each[key] for key in of_exchange}
                for each in exchanges
                if each["name"] and not each["name"].startswith("amq.")
            },
            "queues": {each["name"]: {key: each[key] for key in of_queue} for each in queues},
            "bindings": sorted(
                [each["source"], each["routing_key"], each["destination"]]
                for each in bindings
                if each["source"]
            ),
        }

    async def proxy(self, step: Step) -> Any:
        return {"accepted": self._proxy.accepted, "open": self._proxy.open_connections}

    async def broker_down(self, step: Step) -> None:
        await self._proxy.down()

    async def broker_up(self, step: Step) -> None:
        await self._proxy.up()

    async def broker_cut(self, step: Step) -> None:
        await self._proxy.cut()

    async def sleep(self, step: Step) -> None:
        await asyncio.sleep(step["s"])


STEPS: dict[str, Callable[[AmqpCase, Step], Awaitable[Any]]] = {
    name: getattr(AmqpCase, name)
    for name in (
        "gateway_start",
        "gateway_stop",
        "gateway_kill",
        "http",
        "many",
        "until",
        "start",
        "join",
        "exchange",
        "queue",
        "delete_queue",
        "publish",
        "drain",
        "count",
        "topology",
        "proxy",
        "broker_down",
        "broker_up",
        "broker_cut",
        "sleep",
    )
}


def _body(message: Step) -> bytes:
    if "body_b64" in message:
        return base64.b64decode(message["body_b64"])
    if "json" in message:
        return json.dumps(message["json"], ensure_ascii=False).encode()
    return str(message.get("body", "")).encode()


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
