"""What a scenario is: a configuration, what stands on the broker, and what clients ask.

Each file of ``bench/scenarios`` holds one, as data.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from msgspec import Struct

from .messages import SMALL

BROKER = "{broker}"
HTTP = "{http}"
"""Stand in ``host`` for the URLs of the broker and of the HTTP backend."""

EXCHANGE = "ex"
"""The topic exchange that ``bench.process`` names in its backends; queues are bound by name."""

Kind = Literal["requests", "waiting", "agents", "recovery"]
"""What is measured.

``requests``: throughput, then latency at a third of it. ``waiting``: clients wait on an empty
queue; the time from publishing a message to its answer. ``agents``: how fast full queues are
worked off. ``recovery``: requests at a low rate while the broker closes every connection.
"""

FLOORS: dict[Kind, str] = {"waiting": "tap", "agents": "by-hand"}
"""Candidates with which others are compared where an application that does nothing on the same
server says nothing. ``recovery`` has none: how soon one connects again is a decision, no cost."""


class Queue(Struct, frozen=True):
    """``is_full``: kept full of numbered messages of ``body_bytes`` while there is load.

    ``routing_key``: bound with it to :data:`EXCHANGE`; "" for the queue's own name.
    """

    name: str
    is_full: bool = True
    body_bytes: int = SMALL
    routing_key: str = ""
    arguments: dict[str, Any] = {}


class Call(Struct, frozen=True):
    """A request of the mix. ``body_bytes``: of a numbered JSON document; 0 for no body.

    ``headers``: beside what every request has.
    """

    method: str = "GET"
    path: str = "/"
    weight: int = 1
    body_bytes: int = 0
    headers: dict[str, str] = {}


class Scenario(Struct, frozen=True):
    """``title``: what readers of the report see.

    ``connections``: of the closed loop, and those that wait. ``rate``: requests a second of the
    open loop; 0 for a third of what the slowest candidate can do. ``takes``: messages per request
    that takes any. ``backlog``: while an open loop runs, so many messages wait in each queue, and
    nobody is on its other side; 0 for queues in operation: those that are consumed are fed at the
    same rate, and what is published is read.
    """

    name: str
    title: str
    endpoints: tuple[dict[str, Any], ...] = ()
    agents: tuple[dict[str, Any], ...] = ()
    extra_config: dict[str, Any] = {}
    queues: tuple[Queue, ...] = ()
    calls: tuple[Call, ...] = (Call(),)
    kind: Kind = "requests"
    is_default: bool = False
    connections: int = 64
    rate: float = 0.0
    takes: int = 1
    backlog: int = 0
    answer_bytes: int = SMALL

    @property
    def floor(self) -> str:
        """Of all candidates; "" when each has its own."""
        return FLOORS.get(self.kind, "")

    @property
    def uses_broker(self) -> bool:
        return bool(self.queues)

    @property
    def publishes(self) -> bool:
        return any(call.body_bytes for call in self.calls)

    @property
    def taking_part(self) -> float:
        """Of its requests: those that publish nothing."""
        taking = sum(call.weight for call in self.calls if not call.body_bytes)
        return taking / sum(call.weight for call in self.calls)

    @property
    def is_in_operation(self) -> bool:
        """While an open loop runs. Of ``recovery`` the queues hold what its low rate takes: whoever
        feeds them would lose its own connection."""
        return self.kind == "requests" and self.uses_broker and not self.backlog

    @property
    def target(self) -> str:
        """The queue where published messages end; "" when there is none."""
        return next((queue.name for queue in self.queues if not queue.is_full), "")

    def config(self, broker_url: str, http_url: str, port: int) -> dict[str, Any]:
        """A KrakenD configuration that KrakenD runs as well."""
        document = {
            "version": 3,
            "port": port,
            "listen_ip": "127.0.0.1",
            "endpoints": list(self.endpoints),
            **({"async_agent": list(self.agents)} if self.agents else {}),
            **({"extra_config": self.extra_config} if self.extra_config else {}),
        }
        text = json.dumps(document).replace(BROKER, broker_url).replace(HTTP, http_url)
        config: dict[str, Any] = json.loads(text)
        return config
