"""Three private RabbitMQ nodes that form a cluster on this machine, and what happens to them."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager

from msgspec import Struct

from gateway.demo.broker import Broker, Commands, open_mapper, open_node, signal_group

NODES = 3
MAX_HEALING_TIME = 120.0
"""Seconds until all nodes must be members of the cluster, and of every quorum queue, again."""

SETTINGS = "cluster_partition_handling = pause_minority\n"
"""RabbitMQ's recommendation for quorum queues: a node without the majority stops."""

IS_HEALTHY = (
    f"length(rabbit_mnesia:cluster_nodes(running)) =:= {NODES} andalso "
    "rabbit_upgrade_preparation:await_online_quorum_plus_one(1000)."
)
"""Whether every queue stays available when any one node stops."""

ISOLATE = "[begin erlang:set_cookie(N, isolated), erlang:disconnect_node(N) end || N <- nodes()]."
"""Ends the connections to all other nodes, which cannot connect again: the cookies differ. Clients
are still connected. Unlike lost packets, the nodes notice it at once."""


@contextmanager
def open_cluster() -> Generator[list[Broker]]:
    """Start the nodes and join them. Raises GatewayError when that fails."""
    commands, cookie = Commands(None), secrets.token_hex(16)
    with ExitStack() as stack:
        mapper_port = stack.enter_context(open_mapper(commands))
        nodes = [
            stack.enter_context(open_node(commands, mapper_port, cookie=cookie, settings=SETTINGS))
            for _ in range(NODES)
        ]
        for node in nodes[1:]:
            node.ctl("stop_app")
            node.ctl("join_cluster", nodes[0].name)
            node.ctl("start_app")
        wait_healthy(nodes)
        yield nodes


def wait_healthy(nodes: Sequence[Broker]) -> None:
    """Raises TimeoutError after :data:`MAX_HEALING_TIME`."""
    deadline = time.monotonic() + MAX_HEALING_TIME
    while not all(node.ctl("eval", IS_HEALTHY).strip() == "true" for node in nodes):
        if time.monotonic() > deadline:
            raise TimeoutError("the cluster is not complete again")
        time.sleep(0.5)


class Scene(Struct, frozen=True):
    """``nodes``: in the order of ``host``, so the gateway is connected to the first one.
    ``leader``: leads the queue."""

    nodes: Sequence[Broker]
    leader: Broker

    @property
    def used(self) -> Broker:
        return self.nodes[0]


async def kill(node: Broker) -> None:
    """SIGKILL; after 5 s the node starts again."""
    await asyncio.to_thread(node.stop, signal.SIGKILL)
    await asyncio.sleep(5)
    await asyncio.to_thread(node.start)


async def hang(node: Broker) -> None:
    """SIGSTOP for 25 s: longer than RabbitMQ needs to choose another leader."""
    signal_group(node.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(25)
    finally:
        signal_group(node.pid, signal.SIGCONT)


async def isolate(scene: Scene) -> None:
    """For 10 s the used node and the other two do not reach each other."""
    node = scene.used
    await asyncio.to_thread(node.ctl, "eval", ISOLATE)
    await asyncio.sleep(10)
    names = ", ".join(f"'{each.name}'" for each in scene.nodes if each is not node)
    heal = f"[erlang:set_cookie(N, erlang:get_cookie()) || N <- [{names}]]."
    await asyncio.to_thread(node.ctl, "eval", heal)


async def restart_all(scene: Scene) -> None:
    """One node after the other stops and starts; the next one when the cluster is complete."""
    for node in scene.nodes:
        await asyncio.to_thread(node.stop)
        await asyncio.to_thread(node.start)
        await asyncio.to_thread(wait_healthy, scene.nodes)


class ClusterFault(Struct, frozen=True):
    """``leader``: number of the node that leads the queue; the gateway is connected to node 0.
    ``seconds``: of requests."""

    title: str
    leader: int
    seconds: float
    happen: Callable[[Scene], Awaitable[None]]


FAULTS = {
    "kill-used": ClusterFault(
        "the node that the gateway uses is killed", 1, 20, lambda scene: kill(scene.used)
    ),
    "kill-leader": ClusterFault(
        "the leader of the queue is killed", 1, 20, lambda scene: kill(scene.leader)
    ),
    "kill-both": ClusterFault(
        "the used node is the leader, and is killed", 0, 20, lambda scene: kill(scene.used)
    ),
    "partition": ClusterFault("the used node, the leader, is isolated", 0, 25, isolate),
    "rolling": ClusterFault("rolling restart of all nodes", 1, 60, restart_all),
    "hang-used": ClusterFault(
        "the node that the gateway uses hangs", 1, 40, lambda scene: hang(scene.used)
    ),
    "hang-leader": ClusterFault(
        "the leader of the queue hangs", 1, 40, lambda scene: hang(scene.leader)
    ),
    "hang-both": ClusterFault(
        "the used node is the leader, and hangs", 0, 40, lambda scene: hang(scene.used)
    ),
}
