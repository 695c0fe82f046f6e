"""Documents of the page for cases that a real gateway shows seldom: many endpoints, hostile names,
a broker away. Pure: the same second gives the same numbers.

A :class:`Shown` is what one gateway shows from its first second on; :meth:`Shown.state` is its
``/__state.json``.
"""

from __future__ import annotations

import math
from random import Random
from typing import Any

from msgspec import Raw, json
from msgspec.structs import replace

from gateway.components.page.state import (
    AgentState,
    Box,
    BreakerState,
    CertificateState,
    ChartSeries,
    EndpointState,
    FailureState,
    FindingCounts,
    FindingsDocument,
    FindingState,
    History,
    Instance,
    LimitState,
    LinkState,
    Outcomes,
    PageState,
    PipeState,
    ProducerState,
    QueueState,
    ResourceState,
    Sentence,
    WorkerState,
)

LENGTH = 900
START = 1_796_083_200.0
BOUNDS = tuple(round(10 ** (power / 5 - 4), 6) for power in range(31))

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    '"><script>document.title = "x"</script>',
    "{{constructor.constructor('alert(1)')()}}",
    "javascript:alert(1)",
    "\u202egnp.sredro",
    "a\x00b\u200bc\nd",
    "x" * 600,
    "__proto__",
    "日本語 العربية ✓",
)

LOADED = Sentence(
    "amber",
    "Serving",
    "Serving. 2 of 2 brokers up, 4 of 4 queues ready (3 attached, 1 idle), 2 of 2 agents attached, "
    "3 findings.",
    ("certificate /etc/gateway/tls.crt expires in 12 days",),
)
IDLE = Sentence("green", "Serving", "Serving. 2 of 2 brokers up, 4 of 4 queues ready (4 idle).")
BROKER_DOWN = Sentence(
    "amber",
    "Serving",
    "Serving. 1 of 2 brokers up, 3 of 4 queues ready (2 attached, 1 idle), 1 of 2 agents attached, "
    "3 findings.",
    (
        "amqps://rabbit-2:5671/billing (consume): connection refused",
        "queue invoices: not connected",
        "agent invoices: not connected",
        "certificate /etc/gateway/tls.crt expires in 12 days",
    ),
)
DRAINING = Sentence("amber", "Draining", "Draining. 12 requests run; 8 s of the grace period left.")


def pipe(*branches: tuple[tuple[str, str], ...], guards: tuple[str, ...] = ()) -> PipeState:
    return PipeState(
        tuple(Box("guard", name) for name in guards),
        tuple(tuple(Box(kind, name) for kind, name in branch) for branch in branches),
        "single" if len(branches) < 2 else "merge",
        (),
    )


def histogram(middle: float, number: int) -> list[int]:
    """Counts around a duration in seconds, with a tail to the right."""
    counts = []
    for bound in (*BOUNDS, 1000.0):
        distance = math.log10(bound / middle)
        width = 0.16 if distance < 0 else 0.34
        counts.append(int(number * 0.2 * math.exp(-((distance / width) ** 2) / 2)))
    return counts


class Shown:
    """What a gateway shows. ``load``: 1 is a busy one, 0 an idle one."""

    def __init__(
        self,
        sentence: Sentence = LOADED,
        load: float = 1,
        endpoints: int = 0,
        hostile: bool = False,
        broker_down: bool = False,
        empty: bool = False,
        workers: int = 2,
    ) -> None:
        self.sentence, self.load, self.workers = sentence, load, workers
        self.broker_down, self.hostile, self.empty = broker_down, hostile, empty
        self.boot = "5f0c9a3be1d24477"
        self.more = endpoints
        self.is_draining = sentence.word == "Draining"
        self.config = "3fa2b1c0d9e8"

    # One second.

    def wave(self, second: int, seed: int, mean: float, spread: float = 0.12) -> float:
        """A number around a mean that changes slowly, with noise; 0 without load."""
        noise = Random(second * 1009 + seed).uniform(-1, 1)
        slow = math.sin(second / 140 + seed) + 0.4 * math.sin(second / 37 + 2 * seed)
        return max(0.0, self.load * mean * (1 + spread * (slow + noise) / 1.6))

    def attack(self, second: int) -> float:
        """Requests of an attack: from minute 11 on."""
        return self.wave(second, 9, 180, 0.5) if self.hostile and second % LENGTH > 660 else 0

    def column(self, name: str, second: int) -> float:
        wave = self.wave
        fails = self.broker_down and second % LENGTH > 780
        match name:
            case "ok":
                return round(wave(second, 1, 870) * (0.8 if fails else 1))
            case "empty":
                return round(wave(second, 2, 40))
            case "gone":
                return round(wave(second, 3, 1.2, 1))
            case "client_errors":
                return round(wave(second, 4, 9, 0.5) + self.attack(second))
            case "server_errors":
                return round(wave(second, 5, 110 if fails else 0.4, 1))
            case "p50":
                return wave(second, 6, 0.0012, 0.1)
            case "p99":
                return wave(second, 7, 0.021, 0.35) * (30 if fails else 1)
            case "max":
                return wave(second, 8, 0.09, 0.6) * (60 if fails else 1)
            case "taken":
                return round(wave(second, 10, 540))
            case "requeued":
                return round(wave(second, 11, 2, 1))
            case "published":
                return round(wave(second, 12, 210))
            case "in_flight":
                return round(wave(second, 13, 11, 0.5) * (5 if fails else 1))
            case _:
                return 0.0006 + wave(second, 14, 0.0004, 0.6)

    def series(self, seconds: range) -> ChartSeries:
        def column(name: str) -> list[Any]:
            found = [self.column(name, second) for second in seconds]
            if name in ("p50", "p99", "max"):
                return [value or None for value in found]
            return found

        return ChartSeries(**{name: column(name) for name in ChartSeries.__struct_fields__})

    # The document.

    def state(self, now: int, since: int | None = None) -> bytes:
        """The document of second ``now``, counted from the start of the gateway."""
        first = max(now - LENGTH, 0)
        is_complete = since is None or since < first or since > now
        begin = first if since is None or is_complete else since
        seconds = range(begin + 1, now + 1)
        history = History(
            last=now,
            is_complete=is_complete,
            step=1.0,
            length=LENGTH,
            times=[START + second for second in seconds],
            series=self.series(seconds),
        )
        recent = range(max(now - 60, begin) + 1, now + 1)
        state = PageState(
            v=1,
            boot=self.boot,
            time=START + now + 0.25,
            state=self.sentence,
            gateway=Instance(
                name="Shop",
                version="0.1.0",
                instance="gateway-7d9f-abcde:1",
                python="3.13.5",
                async_library="asyncio",
                config=self.config,
                config_file="/etc/gateway/gateway.json",
                started=START - 93_784,
                uptime=93_784.0 + now,
                is_ready=not self.broker_down,
                is_draining=self.is_draining,
            ),
            workers=[self.worker(number, now) for number in range(self.workers)],
            history=history,
            bounds=BOUNDS,
            endpoints=self.endpoints(now, recent),
            unmatched=self.unmatched(now, recent),
            failures=self.failures(seconds if since is not None else range(max(now - 200, 0), now)),
            queues=[] if self.empty else self.queues(now),
            producers=[] if self.empty else self.producers(now),
            links=[] if self.empty else self.links(now),
            agents=[] if self.empty else self.agents(now),
            limits=[] if self.empty else self.limits(now),
            breakers=[] if self.empty else self.breakers(),
            certificates=[] if self.empty else self.certificates(),
            resources=[] if self.empty else self.resources(),
            findings=FindingCounts(True, 1, 1, 0, 1, 1, 0),
        )
        return json.encode(state)

    def worker(self, number: int, now: int) -> WorkerState:
        return WorkerState(
            id=str(number),
            number=number,
            pid=4711 + number,
            started=START - 93_784,
            is_up=True,
            is_ready=not self.broker_down,
            age=0.6 * bool(number),
            lag=self.column("lag", now + number),
            in_flight=int(self.column("in_flight", now + number)) // 2,
        )

    def endpoint(
        self, method: str, path: str, number: int, recent: range, pipe: PipeState, **numbers: float
    ) -> EndpointState:
        """``numbers``: requests a second, middle duration, parts of the outcomes."""
        mean, middle = numbers["mean"], numbers["middle"]
        now = recent.stop - 1
        rates = [round(self.wave(second, number, mean, 0.25)) for second in recent]
        minute = self.wave(now, number, 60 * mean, 0.02)
        parts = {
            name: numbers.get(name, 0.0)
            for name in ("empty", "client_errors", "server_errors", "gone")
        }
        within = {name: float(round(minute * part)) for name, part in parts.items()}
        total = {name: float(round((60_000 + now) * mean * part)) for name, part in parts.items()}
        rest = 1 - sum(parts.values())
        is_busy = minute > 0
        return EndpointState(
            id=f"{method} {path}",
            method=method,
            path=path,
            rate=rates[-1] if rates else round(self.wave(now, number, mean, 0.25)),
            recent=[float(rate) for rate in rates],
            total=Outcomes(ok=float(round((60_000 + now) * mean * rest)), **total),
            minute=Outcomes(ok=float(round(minute * rest)), **within),
            p50=middle if is_busy else None,
            p99=middle * 14 if is_busy else None,
            max=middle * 44 if is_busy else None,
            counts=histogram(middle, int(minute * 15)) if is_busy else [],
            pipe=Raw(json.encode(pipe)),
        )

    def endpoints(self, now: int, recent: range) -> list[EndpointState]:
        guarded = ("auth/validator", "qos/ratelimit/router")
        fails = 0.6 if self.broker_down else 0.0004
        found = [
            self.endpoint(
                "GET",
                "/orders",
                1,
                recent,
                pipe((("queue", "orders"), ("stage", "modifier/jmespath")), guards=guarded),
                mean=620,
                middle=0.0011,
                empty=0.04,
                gone=0.0006,
                client_errors=0.0001,
            ),
            self.endpoint(
                "POST",
                "/orders",
                2,
                recent,
                pipe((("exchange", "shop"),), guards=guarded[:1]),
                mean=210,
                middle=0.0014,
                client_errors=0.004,
            ),
            self.endpoint(
                "GET",
                "/customers/{id}",
                3,
                recent,
                pipe(
                    (("http", "http://customers:8080"), ("stage", "qos/circuit-breaker")),
                    (("http", "http://loyalty:8080"),),
                    (("queue", "customer-events"), ("stage", "validation/cel")),
                    guards=guarded[:1],
                ),
                mean=70,
                middle=0.0063,
                client_errors=0.033,
                server_errors=0.0004,
            ),
            self.endpoint(
                "GET",
                "/invoices/next",
                4,
                recent,
                pipe((("queue", "invoices"),), guards=guarded[:1]),
                mean=24,
                middle=0.0031,
                empty=0.1,
                server_errors=fails,
            ),
            self.endpoint(
                "GET",
                "/catalogue/{category}",
                5,
                recent,
                pipe((("http", "http://catalogue:8080"), ("stage", "qos/http-cache"))),
                mean=48,
                middle=0.0004,
            ),
        ]
        if self.hostile:
            found += [
                self.endpoint(
                    "GET",
                    f"/{name}",
                    6 + number,
                    recent,
                    pipe((("queue", name), ("stage", name)), (("http", name),), guards=(name,)),
                    mean=3,
                    middle=0.002,
                    client_errors=0.4,
                )
                for number, name in enumerate(HOSTILE)
            ]
        found += [
            self.endpoint(
                ("GET", "POST", "PUT", "DELETE")[number % 4],
                f"/service-{number // 4 + 1}/resource/{{id}}",
                20 + number,
                recent,
                pipe((("queue", f"queue-{number}"),)),
                mean=2 + number % 17,
                middle=0.001 * (1 + number % 9),
            )
            for number in range(self.more)
        ]
        return found

    def unmatched(self, now: int, recent: range) -> EndpointState:
        mean = 1 if not self.hostile else 180
        found = self.endpoint(
            "", "", 19, recent, pipe(), mean=mean, middle=0.0002, client_errors=1.0
        )
        return replace(found, id="")

    def failures(self, seconds: range) -> list[FailureState]:
        if not self.load:
            return []
        kinds = [
            ("GET /customers/{id}", 404, "backend[0]: status 404"),
            ("POST /orders", 400, "exp_key: not a number of milliseconds"),
            ("GET /customers/{id}", 401, "no token"),
            ("GET /orders", 429, "qos/ratelimit/router: too many requests"),
        ]
        if self.broker_down:
            kinds += [("GET /invoices/next", 503, "queue invoices: broker away")] * 3
        if self.hostile:
            kinds += [
                ("", 404, f"no endpoint for /{name}")
                for name in ("wp-login.php", ".env", HOSTILE[0])
            ]
            kinds += [(f"GET /{HOSTILE[0]}", 502, HOSTILE[1])]
        found = []
        for second in seconds:
            random = Random(second)
            if random.random() < 0.6:
                endpoint, status, reason = random.choice(kinds)
                trace = f"{random.getrandbits(128):032x}" if random.random() < 0.7 else ""
                found.append(
                    FailureState(
                        f"0-{second}",
                        endpoint,
                        second,
                        START + second + 0.4,
                        status,
                        reason,
                        "",
                        trace,
                    )
                )
        return found

    def queues(self, now: int) -> list[QueueState]:
        wave = self.wave

        def queue(name: str, broker: str, number: int, mean: float, **rest: object) -> QueueState:
            is_attached = bool(self.load and mean)
            values: dict[str, object] = {
                "id": f"{broker} {name}",
                "broker": broker,
                "queue": name,
                "status": "attached" if is_attached else "idle",
                "problem": "",
                "consumers": 2 if is_attached else 0,
                "prefetch": 200 if is_attached else 0,
                "buffered": round(wave(now, number, mean / 14, 0.6)),
                "buffered_bytes": round(wave(now, number, mean / 14, 0.6)) * 1340,
                "waiting": 0,
                "unacked": round(wave(now, number, mean / 11, 0.5)),
                "parked": 0,
                "acked": round(mean * (60_000 + now)),
                "requeued": round(mean * 12),
                "rejected": 0,
                "ack_rate": wave(now, number, mean),
                "requeue_rate": 0,
            }
            return QueueState(**(values | rest))  # type: ignore[arg-type]

        shop, billing = "amqp://rabbit-1:5672/shop", "amqps://rabbit-2:5671/billing"
        down: dict[str, object] = {
            "status": "down",
            "problem": "connection refused",
            "consumers": 0,
            "prefetch": 0,
            "ack_rate": 0,
            "buffered": 0,
            "buffered_bytes": 0,
            "unacked": 0,
            "waiting": 14,
        }
        found = [
            queue("orders", shop, 1, 595, rejected=3),
            queue("customer-events", shop, 2, 0),
            queue("mails", shop, 3, 12, parked=1 if self.load else 0),
            queue("invoices", billing, 4, 21, **(down if self.broker_down else {})),
        ]
        if self.hostile:
            found += [queue(name, shop, 5, 2) for name in HOSTILE]
        found += [queue(f"queue-{number}", shop, 6, 3) for number in range(self.more)]
        return found

    def producers(self, now: int) -> list[ProducerState]:
        return [
            ProducerState(
                id="amqp://rabbit-1:5672/shop shop",
                broker="amqp://rabbit-1:5672/shop",
                exchange="shop",
                status="ready",
                problem="",
                unconfirmed=round(self.wave(now, 4, 4, 1)),
                waiting=0,
                confirmed=189_000 + 210 * now,
                returned=12,
                nacked=0,
                confirm_rate=self.wave(now, 12, 210),
            )
        ]

    def links(self, now: int) -> list[LinkState]:
        def link(broker: str, role: str, **rest: object) -> LinkState:
            values: dict[str, object] = {
                "id": f"{broker} {role}",
                "broker": broker,
                "role": role,
                "status": "up",
                "problem": "",
                "host": broker,
                "node": "RabbitMQ 4.0.5",
                "up": self.workers,
                "of": self.workers,
                "reconnects": 1,
                "since": START - 93_000,
                "silence": (now % 5) + 0.1,
                "blocked_since": None,
                "heartbeat": 10,
                "certificate_days": None,
            }
            return LinkState(**(values | rest))  # type: ignore[arg-type]

        down: dict[str, object] = {
            "status": "down",
            "problem": HOSTILE[0] if self.hostile else "connection refused",
            "host": "",
            "node": "",
            "up": 0,
            "reconnects": 3,
            "since": START + now - 41,
            "silence": None,
        }
        return [
            link("amqp://rabbit-1:5672/shop", "consume"),
            link("amqp://rabbit-1:5672/shop", "publish", reconnects=0),
            link(
                "amqps://rabbit-2:5671/billing",
                "consume",
                certificate_days=88.2,
                **(down if self.broker_down else {}),
            ),
        ]

    def agents(self, now: int) -> list[AgentState]:
        is_down = self.broker_down
        return [
            AgentState(
                id="mails",
                agent="mails",
                status="attached",
                problem="",
                workers=4,
                in_flight=round(self.wave(now, 8, 2, 0.8)),
                succeeded=80_000 + 12 * now,
                failed=12,
                parked=0,
                dead_lettered=2,
                success_rate=self.wave(now, 9, 12.4),
                failure_rate=0,
                last_message=START + now - (0 if self.load else 4000),
                last_error="",
            ),
            AgentState(
                id="invoices",
                agent="invoices",
                status="down" if is_down else "attached",
                problem="connection refused" if is_down else "",
                workers=1,
                in_flight=0,
                succeeded=9_000,
                failed=40,
                parked=1 if is_down else 0,
                dead_lettered=0,
                success_rate=0,
                failure_rate=0,
                last_message=START + now - 41,
                last_error="backend[0]: status 500",
            ),
        ]

    def limits(self, now: int) -> list[LimitState]:
        rate = self.wave(now, 3, 0.4) + self.attack(now) / 2
        return [
            LimitState("GET /orders", "GET /orders", 120 + round(rate * now), rate),
            LimitState("service", "service", 0, 0),
        ]

    def breakers(self) -> list[BreakerState]:
        status = "half-open" if self.broker_down else "closed"
        name = "GET /customers/{id}"
        return [BreakerState(f"{name} backend[0]", name, "backend[0]", status)]

    def certificates(self) -> list[CertificateState]:
        days = 12.3
        return [
            CertificateState(
                "$.tls.keys[0]",
                "server",
                "$.tls.keys[0]",
                "/etc/gateway/tls.crt",
                ("shop.example", "*.shop.example"),
                START + 86_400 * days,
                days,
                "",
            ),
            CertificateState(
                "$.client_tls.client_certs[0]",
                "client",
                "$.client_tls.client_certs[0]",
                "/etc/gateway/client.crt",
                ("shop",),
                START + 86_400 * 301,
                301.0,
                "",
            ),
        ]

    def resources(self) -> list[ResourceState]:
        url = "https://login.example/jwks"
        return [ResourceState(f"keys {url}", "keys", True, "", {"url": url, "keys": 2})]

    def findings(self) -> bytes:
        rows = [
            (
                "check",
                "warning",
                "",
                '$.endpoints[0].backend[0].extra_config["backend/amqp/consumer"].prefetch_size',
                "GET /orders",
                "prefetch_size has no effect",
            ),
            (
                "audit",
                "HIGH",
                "9.1.2",
                "$.extra_config.gateway",
                "",
                "The page is open on every address without a login.",
            ),
            (
                "audit",
                "MEDIUM",
                "3.1.1",
                "$.endpoints[4]",
                "GET /catalogue/{category}",
                "The endpoint has no rate limit.",
            ),
            (
                "check",
                "hint",
                "",
                "$.extra_config.gateway",
                "",
                "only this gateway knows: management_port, page",
            ),
        ]
        if self.hostile:
            rows += [("check", "hint", "", f"$.{name}", name, name) for name in HOSTILE]
        found = [FindingState(str(number), *row) for number, row in enumerate(rows)]
        return json.encode(FindingsDocument(1, True, found))


# Where a picture begins: after a quarter of an hour, so that every chart is full.
FULL = LENGTH + 60


def scenes() -> dict[str, Shown]:
    """The cases that the page is looked at in."""
    return {
        "loaded": Shown(),
        "idle": Shown(IDLE, load=0),
        "down": Shown(BROKER_DOWN, broker_down=True),
        "hostile": Shown(BROKER_DOWN, hostile=True, broker_down=True),
        "large": Shown(endpoints=95),
        "draining": Shown(DRAINING),
        "empty": Shown(
            Sentence("green", "Serving", "Serving. No broker is configured."), empty=True, workers=1
        ),
    }
