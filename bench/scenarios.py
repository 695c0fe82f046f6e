"""What is measured, as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct


class Scenario(Struct, frozen=True):
    """``queues`` merged into one answer, each with the ``prefetch``; 0 queues: the floor."""

    name: str
    queues: int
    prefetch: int = 100

    @property
    def queue_names(self) -> list[str]:
        return [f"bench-{self.name}-{number}" for number in range(self.queues)]

    def config(self, url: str, port: int) -> dict[str, Any]:
        """A KrakenD configuration that KrakenD runs as well."""
        backends = [
            {
                "host": [url],
                "disable_host_sanitize": True,
                "url_pattern": "/",
                "extra_config": {
                    "backend/amqp/consumer": {
                        "name": name,
                        "exchange": "bench",
                        "routing_key": [name],
                        "durable": True,
                        "prefetch_count": self.prefetch,
                    }
                },
            }
            for name in self.queue_names
        ]
        return {
            "version": 3,
            "port": port,
            "listen_ip": "127.0.0.1",
            "endpoints": [{"endpoint": "/", "timeout": "5s", "backend": backends}],
        }


SCENARIOS: Sequence[Scenario] = (
    Scenario("floor", 0),
    Scenario("consume-1", 1),
    Scenario("consume-10", 10),
)


def body(queue: int, number: int) -> bytes:
    """About 130 bytes of JSON; keys of different queues differ."""
    return (
        b'{"id_%d":%d,"name_%d":"widget","price_%d":12.5,"tags_%d":["a","b","c"],'
        b'"customer_%d":{"id":77,"name":"Jane Doe","mail":"jane@example.com"}}'
        % (queue, number, queue, queue, queue, queue)
    )
