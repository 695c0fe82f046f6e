"""Random faults, one after the other."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import aiormq
from msgspec import Struct

from gateway.errors import GatewayError

from ..faults import Stage, close_connections, raise_memory_alarm, restart_broker
from .flows import EXCHANGE, Flow
from .load import Load
from .timeline import Timeline

PAUSES = (2.0, 6.0)
"""Seconds between two faults."""


MAX_STOP = 40.0
"""Seconds: the default grace period of the gateway, five more, and some for a busy machine."""


class Scene(Struct, frozen=True):
    """What faults affect. ``stage``: the broker, and the gateway that is stopped and killed."""

    stage: Stage
    load: Load
    flows: Sequence[Flow]
    chance: random.Random


async def close(scene: Scene) -> None:
    """The broker closes every connection, three times in a row."""
    await close_connections(scene.stage)


async def broker(scene: Scene) -> None:
    """The broker's application stops and starts again."""
    await restart_broker(scene.stage)


async def alarm(scene: Scene) -> None:
    """A memory alarm blocks connections that publish."""
    await raise_memory_alarm(scene.stage)


async def hang(scene: Scene) -> None:
    """The broker hangs: shorter and longer than two heartbeats of the gateways."""
    os.killpg(scene.stage.broker.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(scene.chance.uniform(1, 8))
    finally:
        os.killpg(scene.stage.broker.pid, signal.SIGCONT)


async def unbind(scene: Scene) -> None:
    """Queues that the gateways publish to lose their bindings for a second. Messages are
    unroutable then, and no channel is closed."""
    queues = [flow.last_queue for flow in scene.flows if flow.is_read]
    async with aiormq.connect(scene.stage.url) as connection:
        channel = await connection.channel()
        for queue in queues:
            await channel.queue_unbind(queue, EXCHANGE, queue)
        await asyncio.sleep(1)
        for queue in queues:
            await channel.queue_bind(queue, EXCHANGE, queue)


async def exchange(scene: Scene) -> None:
    """The exchange is deleted: the broker closes each channel that publishes to it. The gateways
    have to declare it again, with its bindings."""
    async with aiormq.connect(scene.stage.url) as connection:
        channel = await connection.channel()
        await channel.exchange_delete(EXCHANGE)


async def term(scene: Scene) -> None:
    """SIGTERM to a gateway, then a new start."""
    status = await asyncio.to_thread(scene.stage.gateway.stop, seconds=MAX_STOP)
    await _start_gateway(scene)
    if status:
        raise GatewayError(f"the gateway stopped with status {status}")


async def kill(scene: Scene) -> None:
    """SIGKILL to a gateway, then a new start."""
    was_running = scene.stage.gateway.is_running
    await asyncio.to_thread(scene.stage.gateway.kill)
    await _start_gateway(scene)
    if not was_running:
        raise GatewayError("the gateway had ended before it was killed")


async def pause(scene: Scene) -> None:
    """The clients send nothing: the gateways return their messages to the broker."""
    scene.load.is_paused = True
    await asyncio.sleep(scene.chance.uniform(1, 4))
    scene.load.is_paused = False


async def _start_gateway(scene: Scene) -> None:
    await asyncio.to_thread(scene.stage.gateway.start, has_own_group=True)


SOAK_FAULTS: dict[str, Callable[[Scene], Awaitable[None]]] = {
    each.__name__: each
    for each in (close, broker, alarm, hang, unbind, exchange, term, kill, pause)
}


async def break_things(
    scene: Scene, names: Sequence[str], timeline: Timeline, stop: asyncio.Event
) -> None:
    """Faults until ``stop``: all of ``names`` in a random order, then again. An error of a fault is
    its problem; everything is started again then."""
    order: list[str] = []
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), scene.chance.uniform(*PAUSES))
        if stop.is_set() or not names:
            continue
        order = order or scene.chance.sample(names, len(names))
        event = timeline.begin(order.pop())
        try:
            await SOAK_FAULTS[event.name](scene)
        except (GatewayError, aiormq.AMQPError, OSError, subprocess.SubprocessError) as error:
            event.problem = f"{type(error).__name__}: {error}"
            await restore(scene)
        event.ended = timeline.now()


async def restore(scene: Scene) -> None:
    """End every fault that was interrupted."""
    for arguments in ("start_app",), ("set_vm_memory_high_watermark", "0.4"):
        await asyncio.to_thread(scene.stage.broker.ctl, *arguments)
    if not scene.stage.gateway.is_running:
        await _start_gateway(scene)
