"""What a scenario is: a configuration, the queues on the broker, and the requests of clients."""

from __future__ import annotations

import json
from typing import Any, Literal

from msgspec import Struct

from .messages import SMALL
from .process import EXPORTER_PORT

BROKER = "{broker}"
HTTP = "{http}"
"""Placeholders in ``host`` for the URLs of the broker and of the HTTP backend."""

EXCHANGE = "ex"
"""The topic exchange of all backends; queues are bound with their name."""

Kind = Literal["requests", "waiting", "agents", "recovery"]
"""What is measured.

- ``requests``: maximum throughput, then latency at a third of it.
- ``waiting``: clients wait on an empty queue; the time from publishing a message to its response.
- ``agents``: how fast agents empty full queues.
- ``recovery``: requests at a low rate while the broker closes every connection.
"""

BASELINES: dict[Kind, str] = {"waiting": "raw-amqp", "agents": "hand-written"}
"""Baselines of the kinds for which a minimal ASGI application is no measure. ``recovery`` is
compared with nothing in particular: how soon a client reconnects is a decision, not a cost."""


class Queue(Struct, frozen=True):
    """``is_full``: kept full of numbered messages of ``body_bytes`` during a load.

    ``routing_key``: of its binding to :data:`EXCHANGE`; "" for the queue's name.
    """

    name: str
    is_full: bool = True
    body_bytes: int = SMALL
    routing_key: str = ""
    arguments: dict[str, Any] = {}


class Call(Struct, frozen=True):
    """A kind of request. ``weight``: its share of all requests. ``body_bytes``: size of its
    numbered JSON document; 0 for no body. ``headers``: in addition to those of every request.
    """

    method: str = "GET"
    path: str = "/"
    weight: int = 1
    body_bytes: int = 0
    headers: dict[str, str] = {}


class Scenario(Struct, frozen=True):
    """``title``: its name in the report.

    - ``connections``: HTTP connections of the closed loop, and of clients that wait.
    - ``rate``: requests a second of the open loop; 0: a third of the slowest candidate's maximum
      throughput.
    - ``takes``: messages that a consuming request takes.
    - ``backlog``: messages in each queue while an open loop runs; the queue has no other publisher
      or consumer. 0: queues are in a steady state: those that are consumed are fed at the same
      rate, and what is published is consumed.
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
    response_bytes: int = SMALL

    @property
    def baseline(self) -> str:
        """The baseline of all candidates; "" when each has its own."""
        return BASELINES.get(self.kind, "")

    @property
    def request_bytes(self) -> int:
        """Of the body of a request, if requests of the scenario have one."""
        return max(call.body_bytes for call in self.calls)

    @property
    def message_bytes(self) -> int:
        """Of a message, if its size is neither that of a request nor of a response."""
        return self.queues[0].body_bytes if self.kind in ("waiting", "agents") else 0

    @property
    def uses_broker(self) -> bool:
        return bool(self.queues)

    @property
    def publishes(self) -> bool:
        return bool(self.target) and any(call.body_bytes for call in self.calls)

    @property
    def taking_part(self) -> float:
        """The part of its requests that consume."""
        if not self.publishes:
            return 1.0
        consuming = sum(call.weight for call in self.calls if not call.body_bytes)
        return consuming / sum(call.weight for call in self.calls)

    @property
    def is_in_steady_state(self) -> bool:
        """While an open loop runs. Queues of ``recovery`` are filled beforehand, because the
        feeding connection would be closed as well."""
        return self.kind == "requests" and self.uses_broker and not self.backlog

    @property
    def target(self) -> str:
        """The queue that receives published messages; "" when there is none."""
        return next((queue.name for queue in self.queues if not queue.is_full), "")

    def config(
        self, broker_url: str, http_url: str, port: int, host: str = "127.0.0.1"
    ) -> dict[str, Any]:
        """The configuration, which KrakenD accepts as well."""
        document = {
            "version": 3,
            "port": port,
            "listen_ip": host,
            "endpoints": list(self.endpoints),
            **({"async_agent": list(self.agents)} if self.agents else {}),
            **({"extra_config": self.extra_config} if self.extra_config else {}),
        }
        text = json.dumps(document).replace(BROKER, broker_url).replace(HTTP, http_url)
        # Below the ports that the kernel chooses itself.
        text = text.replace(f'"{EXPORTER_PORT}"', str(10_000 + port % 20_000))
        config: dict[str, Any] = json.loads(text)
        return config
