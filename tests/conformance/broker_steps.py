"""What a recorded case does to the broker, never through the proxy."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiormq
import httpx
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp.commands import Basic

from bench.process import TLS
from gateway.demo.broker import Broker

Step = dict[str, Any]

PROPERTIES = {
    "content_type": "content_type",
    "content_encoding": "content_encoding",
    "delivery_mode": "delivery_mode",
    "priority": "priority",
    "correlation_id": "correlation_id",
    "reply_to": "reply_to",
    "expiration": "expiration",
    "message_id": "message_id",
    "user_id": "user_id",
    "app_id": "app_id",
    "type": "message_type",
}
KINDS = {str: "string", bytes: "bytes", list: "array", dict: "table", int: "int"}


class BrokerSteps:
    def __init__(self, broker: Broker, url: str) -> None:
        self._broker = broker
        self._url = url

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

    async def bind(self, step: Step) -> None:
        key = step.get("key", "#")
        await self._with_channel(
            lambda it: it.queue_bind(step["queue"], step["exchange"], routing_key=key)
        )

    async def policy(self, step: Step) -> None:
        vhost = self._url.rsplit("/", 1)[1]
        definition = json.dumps(step["definition"])
        arguments = ("set_policy", "-p", vhost, step["name"], step["pattern"], definition)
        await asyncio.to_thread(self._broker.ctl, *arguments)

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
            messages: list[Any] = []
            quiet_since = time.monotonic()
            while time.monotonic() - quiet_since < 0.5:
                message = await channel.basic_get(step["queue"], no_ack=True)
                if isinstance(message.delivery, Basic.GetOk):
                    messages.append(_shown(message))
                    quiet_since = time.monotonic()
                else:
                    await asyncio.sleep(0.05)
            bodies = [message["body"] for message in messages]
            return {"count": len(bodies), "bodies": bodies, "messages": messages}

        try:
            return await self._with_channel(use)
        except ChannelNotFoundEntity:
            return {"missing": True}

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
        async with httpx.AsyncClient(
            verify=TLS, base_url=self._broker.management_url
        ) as management:
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


def _shown(message: DeliveredMessage) -> Any:
    delivery, properties = message.delivery, message.header.properties
    assert isinstance(delivery, Basic.GetOk)
    shown = {name: getattr(properties, field) for name, field in PROPERTIES.items()}
    headers = properties.headers or {}
    return {
        "body": message.body.decode(errors="replace"),
        "exchange": delivery.exchange,
        "routing_key": delivery.routing_key,
        "redelivered": delivery.redelivered,
        "properties": {name: value for name, value in shown.items() if value not in (None, "")},
        "headers": headers,
        "header_types": {name: KINDS.get(type(value), "?") for name, value in headers.items()},
    }


def _body(message: Step | str) -> bytes:
    if isinstance(message, str):
        return message.encode()
    if "body_b64" in message:
        return base64.b64decode(message["body_b64"])
    if "json" in message:
        return json.dumps(message["json"], ensure_ascii=False).encode()
    return str(message.get("body", "")).encode()
