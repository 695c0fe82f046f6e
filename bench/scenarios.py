"""The scenarios, in the order of the report.

Most of them differ in one thing from ``consume-1`` or ``publish-transient``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from .messages import SMALL
from .process import EXPORTER_PORT, agent, consumer, endpoint, producer
from .scenario import BROKER, HTTP, Call, Queue, Scenario

KIB, MIB = 1024, 1024 * 1024

KEYS = Path(__file__).parent / "keys"
TOKEN = (KEYS / "token.txt").read_text().strip()
"""It never expires. Its private key was deleted."""

FULL = Queue("bench-0")
PUBLISHED = Queue("q", is_full=False, routing_key="key")


def consuming(
    name: str,
    title: str,
    *,
    prefetch_count: int = 100,
    body_bytes: int = SMALL,
    **changes: Any,
) -> Scenario:
    """Each response has one message from one queue."""
    backend = consumer(BROKER, "bench-0", prefetch_count=prefetch_count)
    values = {
        "endpoints": (endpoint("/", backend),),
        "queues": (Queue("bench-0", body_bytes=body_bytes),),
        "response_bytes": body_bytes,
        **changes,
    }
    return Scenario(name=name, title=title, **values)


def merging(name: str, title: str, queues: int, **changes: Any) -> Scenario:
    """Each response has one message from each queue."""
    names = [f"bench-{number}" for number in range(queues)]
    return consuming(
        name,
        title,
        endpoints=(endpoint("/", *(consumer(BROKER, each) for each in names)),),
        queues=tuple(map(Queue, names)),
        takes=queues,
        **changes,
    )


def publishing(
    name: str,
    title: str,
    *,
    settings: dict[str, Any] | None = None,
    body_bytes: int = SMALL,
    headers: dict[str, str] | None = None,
    endpoint_config: dict[str, Any] | None = None,
    queue: Queue = PUBLISHED,
    **changes: Any,
) -> Scenario:
    """Each request publishes one message. ``settings``: of the producer."""
    backend = producer(BROKER, "ex", **(settings or {}))
    options = {"extra_config": endpoint_config} if endpoint_config else {}
    return Scenario(
        name=name,
        title=title,
        endpoints=(endpoint("/", backend, method="POST", **options),),
        queues=(queue,),
        calls=(Call("POST", body_bytes=body_bytes, headers=headers or {}),),
        **changes,
    )


def transient(name: str, title: str, **changes: Any) -> Scenario:
    """Messages that the broker keeps in memory only."""
    return publishing(name, f"publish, transient{title}", settings={"delivery_mode": 1}, **changes)


def http_backend(name: str, **changes: Any) -> dict[str, Any]:
    return {"host": [HTTP], "url_pattern": f"/{name}", **changes}


def with_stages(backend: dict[str, Any], stages: dict[str, Any]) -> dict[str, Any]:
    return {**backend, "extra_config": {**backend["extra_config"], **stages}}


SCHEMA = {
    "type": "object",
    "required": ["id_0", "customer_0"],
    "properties": {
        "id_0": {"type": "integer", "minimum": 0},
        "customer_0": {"type": "object", "required": ["mail"]},
    },
}

SCENARIOS = (
    # The cost of every request: the router responds without a backend.
    Scenario(
        name="static",
        title="static response (health)",
        endpoints=(endpoint("/unused", http_backend("a")),),
        calls=(Call(path="/__health"),),
        is_default=True,
    ),
    # Consume.
    consuming("consume-1", "consume, 1 queue", is_default=True),
    merging("consume-10", "consume, 10 queues", 10, is_default=True),
    merging("consume-50", "consume, 50 queues", 50),
    consuming(
        "one-queue-5",
        "consume, 5 backends on one queue",
        endpoints=(
            endpoint("/", *({**consumer(BROKER, "bench-0"), "group": f"b{n}"} for n in range(5))),
        ),
        takes=5,
    ),
    consuming("consume-1-long", "consume, 1 long queue", backlog=100_000),
    # A line for each response; KrakenD CE writes its only format.
    consuming(
        "consume-1-access-log",
        "consume, 1 queue, access log in JSON",
        extra_config={"telemetry/logging": {"level": "ERROR", "access_log_format": "json"}},
    ),
    # Prometheus may read, and does not.
    consuming(
        "consume-1-metrics",
        "consume, 1 queue, metrics for Prometheus",
        extra_config={
            "telemetry/opentelemetry": {
                "exporters": {"prometheus": [{"name": "bench", "port": EXPORTER_PORT}]}
            }
        },
    ),
    # One request of a hundred has spans. The collector does not respond.
    consuming(
        "consume-1-traces",
        "consume, 1 queue, 1 % traced",
        extra_config={
            "telemetry/opentelemetry": {
                "trace_sample_rate": 0.01,
                "exporters": {
                    "otlp": [
                        {
                            "name": "bench",
                            "host": "127.0.0.1",
                            "port": 1,
                            "use_http": True,
                            "disable_metrics": True,
                        }
                    ]
                },
            }
        },
    ),
    # None of the stages ever refuses a request.
    consuming(
        "consume-1-stages",
        "consume, 1 queue, breaker, limit, CEL, schema",
        endpoints=(
            endpoint(
                "/",
                with_stages(
                    consumer(BROKER, "bench-0"),
                    {
                        "qos/circuit-breaker": {"interval": 60, "timeout": 10, "max_errors": 5},
                        "qos/ratelimit/proxy": {"max_rate": 1_000_000, "capacity": 1_000_000},
                        "validation/cel": [{"check_expr": "req_method == 'POST'"}],
                    },
                ),
                method="POST",
                extra_config={"validation/json-schema": SCHEMA},
            ),
        ),
        calls=(Call("POST", body_bytes=SMALL),),
    ),
    consuming("prefetch-1", "consume, prefetch 1", prefetch_count=1),
    consuming("prefetch-10", "consume, prefetch 10", prefetch_count=10),
    consuming("prefetch-500", "consume, prefetch 500", prefetch_count=500),
    consuming(
        "waiting",
        "empty queue: publish to response",
        queues=(Queue("bench-0", is_full=False),),
        kind="waiting",
        rate=500,
        is_default=True,
    ),
    # Publish.
    publishing("publish", "publish, persistent", is_default=True),
    transient("publish-transient", ""),
    publishing(
        "publish-quorum",
        "publish, quorum queue",
        queue=replace(PUBLISHED, arguments={"x-queue-type": "quorum"}),  # of one member
    ),
    transient(
        "publish-jwt",
        ", with a token (RS256)",
        endpoint_config={
            "auth/validator": {
                "alg": "RS256",
                "audience": ["bench"],
                "roles": ["publisher"],
                "jwk_local_path": str(KEYS / "jwks.json"),
                "disable_jwk_security": True,
            }
        },
        headers={"Authorization": f"Bearer {TOKEN}"},
    ),
    # No client ever reaches the limits.
    transient(
        "publish-limited",
        ", with rate limits",
        endpoint_config={
            "qos/ratelimit/router": {
                "max_rate": 1_000_000,
                "client_max_rate": 1_000_000,
                "strategy": "ip",
            }
        },
    ),
    transient(
        "publish-cors",
        ", with CORS",
        extra_config={"security/cors": {"allow_origins": ["https://bench.example"]}},
        headers={"Origin": "https://bench.example"},
    ),
    transient(
        "publish-schema",
        ", with a JSON schema",
        endpoint_config={"validation/json-schema": SCHEMA},
    ),
    publishing("publish-long", "publish, persistent, long queue", backlog=100_000),
    # Larger messages.
    consuming("consume-10k", "consume, 10 KiB bodies", body_bytes=10 * KIB),
    consuming("consume-1m", "consume, 1 MiB bodies", body_bytes=MIB, connections=8),
    publishing("publish-10k", "publish, 10 KiB bodies", body_bytes=10 * KIB),
    publishing("publish-1m", "publish, 1 MiB bodies", body_bytes=MIB, connections=8),
    # Half of the requests publish, half of them consume, on different queues.
    Scenario(
        name="mixed",
        title="publish and consume, mixed",
        endpoints=(
            endpoint("/take", consumer(BROKER, "bench-0")),
            endpoint("/put", producer(BROKER, "ex"), method="POST"),
        ),
        queues=(FULL, PUBLISHED),
        calls=(Call("GET", "/take"), Call("POST", "/put", body_bytes=SMALL)),
    ),
    # HTTP backends, which respond at once.
    Scenario(
        name="http",
        title="HTTP backend",
        endpoints=(endpoint("/", http_backend("a")),),
        is_default=True,
    ),
    Scenario(
        name="http-3",
        title="3 HTTP backends, merged",
        endpoints=(endpoint("/", *(http_backend(each, group=each) for each in "abc")),),
    ),
    # Agents.
    Scenario(
        name="agent-http",
        title="agent, 50 workers to HTTP",
        agents=(
            agent(
                BROKER,
                "bench-0",
                http_backend("take", method="POST"),
                workers=50,
                prefetch_count=100,
            ),
        ),
        queues=(FULL,),
        kind="agents",
    ),
    Scenario(
        name="agent-producer",
        title="agent, 50 workers to a producer",
        agents=(agent(BROKER, "bench-0", producer(BROKER, "ex"), workers=50, prefetch_count=100),),
        queues=(FULL, PUBLISHED),
        kind="agents",
    ),
    # The broker closes every connection in the middle: how long until responses come again?
    consuming("drop", "connections dropped: recovery", kind="recovery", rate=300),
)


def all_scenarios() -> dict[str, Scenario]:
    """Every scenario by its name, in the order of the report."""
    return {scenario.name: scenario for scenario in SCENARIOS}
