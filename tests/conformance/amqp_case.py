"""One recorded AMQP case: its own virtual host, its own gateway, its steps in order."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from bench.process import TLS, GatewayProcess
from gateway.demo.broker import Broker

from .broker_steps import BrokerSteps, Step
from .matchers import differences
from .proxy import BrokerProxy
from .scripted_backend import ScriptedBackend

REPEATED = {"count", "topology", "proxy", "mock"}
"""Observations that need a moment to come true."""


class AmqpCase:
    def __init__(self, case: dict[str, Any], broker: Broker, url: str, folder: Path) -> None:
        self._case = case
        self._broker_steps = BrokerSteps(broker, url)
        self._backend = ScriptedBackend(case.get("mock", {}))
        self._observed: dict[str, Any] = {}
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
        await self._backend.start()
        try:
            steps = [*self._case.get("setup", []), *self._start(), *self._case["steps"]]
            for step in steps:
                got = await self._do(step)
                if step.get("as") and wanted.get(step["as"]) is not None:
                    problems += await self._compare(step, got, wanted[step["as"]])
        finally:
            for request in self._requests.values():
                request.cancel()
            if self._gateway is not None:
                await asyncio.to_thread(self._gateway.stop, signal.SIGKILL)
            await self._proxy.down()
            await self._backend.stop()
        return problems

    async def _do(self, step: Step) -> Any:
        name = step["do"]
        do: Callable[[Step], Awaitable[Any]] = getattr(
            self._broker_steps if hasattr(self._broker_steps, name) else self, name
        )
        got = await do(step)
        if step.get("as"):
            self._observed[step["as"]] = got
        if "ledger" in step:
            got["lost"] = self._lost(step["ledger"], got)
        return got

    def _lost(self, ledger: dict[str, str], drained: Any) -> list[str]:
        """Bodies whose request was answered with success and that are not in the queue."""
        there, lost = list(drained.get("bodies", [])), []
        for name, body in ledger.items():
            if 200 <= self._observed.get(name, {}).get("status", 0) < 300:
                if body in there:
                    there.remove(body)
                else:
                    lost.append(body)
        return lost

    def _start(self) -> list[Step]:
        return [{"do": "gateway_start"}] if self._case.get("start", True) else []

    async def _compare(self, step: Step, got: Any, wanted: Any) -> list[str]:
        deadline = time.monotonic() + step.get("within", 6)
        problems = differences(wanted, got, step["as"])
        while problems and step["do"] in REPEATED and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            got = await self._do(step)
            problems = differences(wanted, got, step["as"])
        return problems

    def _filled(self, document: Any) -> Any:
        through = re.sub(r":\d+/", f":{self._proxy.port}/", self._url)
        values = {
            "amqp_url": through if self._case.get("proxy") else self._url,
            "mock": self._backend.url,
            "vhost": self._url.rsplit("/", 1)[1],
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
        async with httpx.AsyncClient(verify=TLS, timeout=step.get("timeout", 10)) as client:
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

        async def one(number: int) -> None:
            async with turns:
                filled = json.dumps(step).replace("{i}", str(number))
                answers.append(await self.http(json.loads(filled)))

        await asyncio.gather(*(one(number) for number in range(step["n"])))
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

    async def hangup(self, step: Step) -> None:
        """Ask, and close the connection without reading."""
        body = step.get("body", "").encode()
        head = f"{step.get('method', 'GET')} {step['path']} HTTP/1.1\r\nHost: x\r\n"
        if body:
            head += f"Content-Length: {len(body)}\r\n"
        _, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        writer.write(head.encode() + b"\r\n" + body)
        await writer.drain()
        await asyncio.sleep(step.get("hold", 0.3))
        writer.transport.abort()
        await asyncio.sleep(step.get("after", 0.2))

    # What stands beside it.

    async def mock(self, step: Step) -> Any:
        return self._backend.seen(step.get("path"))

    async def proxy(self, step: Step) -> Any:
        return {"accepted": self._proxy.accepted, "open": self._proxy.open_connections}

    async def broker_down(self, step: Step) -> None:
        await self._proxy.down()

    async def broker_up(self, step: Step) -> None:
        await self._proxy.up()

    async def broker_freeze(self, step: Step) -> None:
        self._proxy.freeze()

    async def broker_thaw(self, step: Step) -> None:
        self._proxy.thaw()

    async def broker_cut(self, step: Step) -> None:
        await self._proxy.cut()

    async def sleep(self, step: Step) -> None:
        await asyncio.sleep(step["s"])


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
