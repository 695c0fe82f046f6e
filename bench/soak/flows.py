"""What flows through the gateway: the queues, and the configuration that serves them."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ..messages import SMALL
from ..process import EXPORTER_PORT, agent, configuration, consumer, endpoint, producer

EXCHANGE = "soak"
LARGE = 260_000
"""Bytes. The kernel of the gateway takes such a response at once, whether or not it is read."""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "classic": {},
    # RabbitMQ 4 deletes a message after 20 returns where no limit is set.
    "quorum": {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000},
}
"""By type of queue."""


class Flow(Struct, frozen=True):
    """Numbered messages on their way through one queue.

    ``feed``: the share of the rate at which the harness publishes to the queue; 0: clients of the
    gateway publish. ``backlog``: it stops while so many messages wait. ``is_passed``: an agent
    passes the messages to another queue.
    """

    name: str
    queue_type: str
    series: int
    feed: float = 0.0
    backlog: int = 1000
    body_bytes: int = SMALL
    is_passed: bool = False

    @property
    def queue(self) -> str:
        return f"{self.name}-{self.queue_type}"

    @property
    def last_queue(self) -> str:
        return f"{self.queue}-target" if self.is_passed else self.queue

    @property
    def queues(self) -> set[str]:
        return {self.queue, self.last_queue}

    @property
    def is_published(self) -> bool:
        """Whether clients of the gateway publish the messages."""
        return not self.feed

    @property
    def is_read(self) -> bool:
        """Whether the harness consumes the last queue."""
        return self.is_passed or self.is_published

    @property
    def arguments(self) -> dict[str, Any]:
        return ARGUMENTS[self.queue_type]


SHARES = {"publish": 0.4, "consume": 0.3, "merge": 0.1, "hang up": 0.08, "read slowly": 0.02}
"""The part of each kind of request. The rest are the messages of agents."""

FEEDS = {"consumed": 0.8, "large": 0.05, "sent": 0.025, "passed": 0.025}
"""More than is consumed, where clients consume: the backlog is the bound there."""


def all_flows() -> list[Flow]:
    flows: list[Flow] = []
    for queue_type in ARGUMENTS:
        for name in ("published", "consumed", "large", "sent", "passed"):
            flows.append(
                Flow(
                    name,
                    queue_type,
                    len(flows),
                    feed=FEEDS.get(name, 0.0),
                    backlog=50 if name == "large" else 1000,
                    body_bytes=LARGE if name == "large" else SMALL,
                    is_passed=name == "passed",
                )
            )
    return flows


def publishes(flow: Flow, url: str) -> dict[str, Any]:
    """A backend that publishes to the last queue. A message that has no queue is a failure."""
    queue = flow.last_queue
    return producer(
        url, EXCHANGE, name=queue, routing_key=queue, mandatory=True, arguments=flow.arguments
    )


def consumes(flow: Flow, url: str) -> dict[str, Any]:
    prefetch = 20 if flow.name == "large" else 100
    return consumer(url, flow.queue, prefetch_count=prefetch, arguments=flow.arguments)


OBSERVED = {
    "telemetry/logging": {"level": "INFO", "stdout": True, "access_log_format": "json"},
    "telemetry/opentelemetry": {
        "metric_reporting_period": 5,
        "trace_sample_rate": 0.01,
        "exporters": {
            "prometheus": [{"name": "scraped", "port": EXPORTER_PORT, "process_metrics": True}],
            "otlp": [{"name": "away", "host": "127.0.0.1", "port": 11, "use_http": True}],
        },
    },
}
"""Logs, metrics that are read, traces of one request in a hundred, and a collector that is never
there."""


def gateway_config(
    flows: list[Flow], url: str, http_url: str, *, is_observed: bool = False
) -> dict[str, Any]:
    """``http_url``: of the HTTP backend of the agents. ``is_observed``: with :data:`OBSERVED`."""
    backend = {"host": [http_url], "url_pattern": "/", "method": "POST"}
    endpoints, agents = [], []
    for flow in flows:
        path = f"/{flow.queue}"
        if flow.name == "published":
            endpoints.append(endpoint(path, publishes(flow, url), method="POST"))
        elif flow.name in ("sent", "passed"):
            target = publishes(flow, url) if flow.is_passed else backend
            retry = {"delay": "200ms"}
            agents.append(
                agent(url, flow.queue, target, workers=5, retry=retry, arguments=flow.arguments)
            )
        else:
            endpoints.append(endpoint(path, consumes(flow, url)))
    merged = [consumes(flow, url) for flow in flows if flow.name == "consumed"]
    endpoints.append(endpoint("/merge", *merged))
    observed = {"extra_config": OBSERVED} if is_observed else {}
    return configuration(*endpoints, async_agent=agents, **observed)
