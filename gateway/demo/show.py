"""``gateway demo``: serves queues of a real RabbitMQ and prints requests to try."""

from __future__ import annotations

import http.client
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import NoReturn

import anyio
from anyio import (
    TASK_STATUS_IGNORED,
    CancelScope,
    Event,
    open_signal_receiver,
    sleep,
    to_thread,
)
from anyio.abc import TaskStatus

from ..app.catalog import CATALOG
from ..app.service import Gateway, open_gateway
from ..config.load import load
from ..config.structs import Service
from ..core.tasks import open_tasks
from ..errors import GatewayError
from ..server.serve import serve
from ..server.settings import serve_settings
from .broker import open_broker
from .samples import Publish, open_publisher

CONFIG = Path(__file__).with_name("demo.json")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MESSAGES_AT_START = 5
"""Messages in each queue before the first request."""


def run_demo(url: str | None, port: int, *, is_once: bool = False) -> int:
    """Serve ``demo.json`` with the broker at ``url``, or with a private one, until Ctrl-C.

    ``is_once``: stop after one request to each endpoint. The exit status is 1 when one failed.
    """
    early = _EarlySignals()
    with ExitStack() as stack:
        if url is None:
            print("starting a private RabbitMQ ...", flush=True)
            url = stack.enter_context(open_broker()).url
        os.environ["DEMO_AMQP_URL"] = url
        return anyio.run(_run, url, port, is_once, early, backend_options={"use_uvloop": True})


class _EarlySignals:
    """Signals before the event loop handles them. Each is an exception, which stops the private
    broker, too."""

    def __init__(self) -> None:
        self._has_come = False
        for number in SIGNALS:
            signal.signal(number, self._interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # the parent may have blocked them

    def _interrupt(self, number: int, frame: object) -> NoReturn:
        self._has_come = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise the exception again: a library that was just imported may have ignored it."""
        if self._has_come:
            raise KeyboardInterrupt


async def _run(url: str, port: int, is_once: bool, early: _EarlySignals) -> int:
    loaded = load(CONFIG, CATALOG, {**os.environ, "KRAKEND_PORT": str(port)})
    stop, serving = Event(), Event()
    is_success = True
    async with open_tasks() as tasks:
        showing = CancelScope()
        await tasks.start(_cancel_on_signals, showing)
        early.check()
        async with open_gateway(loaded) as gateway:
            async with open_tasks() as running:
                running.start_soon(_serve, gateway, stop, serving)
                with showing:
                    await serving.wait()
                    while not gateway.readiness()["ready"]:
                        await sleep(0.05)
                    numbers = count(1)
                    async with open_publisher(url) as publish:
                        is_success = await _show(gateway, port, publish, numbers)
                        if not is_once:
                            await _keep_publishing(gateway, publish, numbers)
                stop.set()
        tasks.cancel_scope.cancel()
    return 0 if is_success else 1


async def _cancel_on_signals(
    scope: CancelScope, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED
) -> None:
    with open_signal_receiver(*SIGNALS) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


async def _serve(gateway: Gateway, stop: Event, serving: Event) -> None:
    settings = serve_settings(gateway.service)
    await serve(gateway.asgi, settings, stop=stop, started=serving.set)


async def _show(gateway: Gateway, port: int, publish: Publish, numbers: Iterator[int]) -> bool:
    """Print a request to each endpoint, and its response. Returns whether all succeeded."""
    queues = _queues(gateway.service)
    for _ in range(MESSAGES_AT_START):
        for queue in queues:
            await publish(queue, next(numbers))
    print(f"\n{len(queues)} queues with {MESSAGES_AT_START} messages each. Try:\n")
    is_success = True
    for endpoint in gateway.service.endpoints:
        path = endpoint.endpoint
        status, body = await to_thread.run_sync(_get, port, path, abandon_on_cancel=True)
        is_success = is_success and status == 200
        print(f"  curl -i http://127.0.0.1:{port}{path}")
        print(f"      {status} {body}\n")
    return is_success


async def _keep_publishing(gateway: Gateway, publish: Publish, numbers: Iterator[int]) -> NoReturn:
    print("Publishing one message a second to each queue. Ctrl-C stops the demo.")
    queues = _queues(gateway.service)
    try:
        while True:
            for queue in queues:
                number = next(numbers)
                await publish(queue, number)
            sys.stdout.write(f"\r  {number} messages published ")
            sys.stdout.flush()
            await sleep(1)
    finally:
        print()


def _queues(service: Service) -> list[str]:
    names = (
        backend.extra_config["backend/amqp/consumer"].name
        for endpoint in service.endpoints
        for backend in endpoint.backend
    )
    return list(dict.fromkeys(names))


def _get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except OSError as error:
        raise GatewayError(f"no response: {error}") from error
    finally:
        connection.close()
