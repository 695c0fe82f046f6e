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

import anyio
from anyio import TASK_STATUS_IGNORED, Event, open_signal_receiver, sleep, to_thread
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
from .samples import open_publisher

CONFIG = Path(__file__).with_name("demo.json")
MESSAGES_AT_START = 5
"""Messages in each queue before the first request."""


def run_demo(url: str | None, port: int, *, is_once: bool = False) -> int:
    """Serve ``demo.json`` with the broker at ``url``, or with a private one, until Ctrl-C.

    ``is_once``: stop after one request to each endpoint. The exit status is 1 when one failed.
    """
    # An exception stops the private broker, too.
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.default_int_handler)
    with ExitStack() as stack:
        if url is None:
            print("starting a private RabbitMQ ...", flush=True)
            url = stack.enter_context(open_broker()).url
        os.environ["DEMO_AMQP_URL"] = url
        return anyio.run(_run, url, port, is_once, backend_options={"use_uvloop": True})


async def _run(url: str, port: int, is_once: bool) -> int:
    loaded = load(CONFIG, CATALOG, {**os.environ, "KRAKEND_PORT": str(port)})
    stop, serving = Event(), Event()
    async with open_tasks() as tasks:
        await tasks.start(_stop_on_signals, stop)
        async with open_gateway(loaded) as gateway:
            async with open_tasks() as running:
                running.start_soon(_serve, gateway, stop, serving)
                await serving.wait()
                is_success = await _show(loaded.service, gateway, url, port, stop, is_once)
                stop.set()
        tasks.cancel_scope.cancel()
    return 0 if is_success else 1


async def _stop_on_signals(
    stop: Event, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED
) -> None:
    with open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            stop.set()


async def _serve(gateway: Gateway, stop: Event, serving: Event) -> None:
    settings = serve_settings(gateway.service)
    await serve(gateway.asgi, settings, stop=stop, started=serving.set)


async def _show(
    service: Service, gateway: Gateway, url: str, port: int, stop: Event, is_once: bool
) -> bool:
    while not gateway.readiness()["ready"]:
        await sleep(0.05)
    queues = list(dict.fromkeys(_queues(service)))
    numbers = count(1)
    async with open_publisher(url) as publish:
        for _ in range(MESSAGES_AT_START):
            for queue in queues:
                await publish(queue, next(numbers))
        print(f"\n{len(queues)} queues with {MESSAGES_AT_START} messages each. Try:\n")
        is_success = True
        for endpoint in service.endpoints:
            status, body = await to_thread.run_sync(_get, port, endpoint.endpoint)
            is_success = is_success and status == 200
            print(f"  curl -i http://127.0.0.1:{port}{endpoint.endpoint}")
            print(f"      {status} {body}\n")
        if is_once:
            return is_success
        print("Publishing one message a second to each queue. Ctrl-C stops the demo.")
        while not stop.is_set():
            for queue in queues:
                number = next(numbers)
                await publish(queue, number)
            sys.stdout.write(f"\r  {number} messages published ")
            sys.stdout.flush()
            with anyio.move_on_after(1):
                await stop.wait()
    print()
    return is_success


def _queues(service: Service) -> Iterator[str]:
    for endpoint in service.endpoints:
        for backend in endpoint.backend:
            yield backend.extra_config["backend/amqp/consumer"].name


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
