"""The components: limits of endpoints, of backends, and of the whole service."""

from __future__ import annotations

from collections.abc import Awaitable

from ...config.structs import Backend, Endpoint, Service
from ...core.asgi import ASGIApp, Headers, Message, Receive, Scope, Send, send_answer, text
from ...core.component import Assembly, Component
from ...core.failures import name_of
from ...core.layers import Layer
from ...core.proxy import (
    Guard,
    HeaderGuard,
    P,
    Part,
    Request,
    Stage,
)
from ...core.stage import Call, intercepted
from ...errors import GatewayError, RateLimitExceeded, Refused
from ...telemetry.metrics import Reading
from .advice import ADVICE
from .bucket import Buckets, Rate, Store
from .findings import backend_findings, findings
from .limits import (
    HEADER_NAMES,
    Counters,
    Denials,
    build_guard,
    build_header_guard,
    build_limits,
    build_redis_guard,
    fingerprint,
    refuse_all,
)
from .settings import (
    BackendLimitSettings,
    LimitSettings,
    RedisLimitSettings,
    RedisPool,
    RedisSettings,
    verify_limits,
)
from .shared_buckets import SharedBuckets

UNKNOWN_CLIENT = ("", 0)
"""The address of a client that the server does not know."""


def build_router_limit(settings: LimitSettings, endpoint: Endpoint, assembly: Assembly) -> Guard:
    """``qos/ratelimit/router``."""
    return _build_local(settings, f"{endpoint.method} {endpoint.endpoint}", assembly)


def build_service_limit(settings: LimitSettings, service: Service, assembly: Assembly) -> Layer:
    """``qos/ratelimit/service``: before a request is routed. Only CORS is around it, so that a
    browser may read its refusals."""
    return guarded(_build_local(settings, "service", assembly), service, waits=False)


def _build_local(settings: LimitSettings, name: str, assembly: Assembly) -> Guard:
    limits = build_limits(settings, name, assembly.service)
    build = build_header_guard if settings.headers else build_guard
    return build(limits, open_store(assembly), count_denials(name, assembly))


def count_denials(name: str, assembly: Assembly) -> Denials:
    """``name``: of an endpoint, or "service"."""
    denials = Denials()
    if assembly.metrics is not None:
        assembly.metrics.readers.append(
            lambda: [Reading("ratelimit.denied", {"endpoint": name}, denials.count)]
        )
    return denials


def build_redis_router_limit(
    settings: RedisLimitSettings, endpoint: Endpoint, assembly: Assembly
) -> Guard:
    """``qos/ratelimit/router/redis``."""
    name = f"{endpoint.method} {endpoint.endpoint}"
    return build_redis_limit(settings, name, assembly, count_denials(name, assembly))


def build_redis_service_limit(
    settings: RedisLimitSettings, service: Service, assembly: Assembly
) -> Layer:
    """``qos/ratelimit/service/redis``."""
    denials = count_denials("service", assembly)
    limit = build_redis_limit(settings, "service", assembly, denials)
    return guarded(limit, service, waits=True)


def build_redis_limit(
    settings: RedisLimitSettings, name: str, assembly: Assembly, denials: Denials
) -> Guard:
    """The limits of ``name``, kept in Redis for all gateways with the same ``name`` at the root."""
    service = assembly.service
    limits = build_limits(settings, f"redis {service.name} {name}", service)
    local = build_guard(limits, open_store(assembly), denials)
    redis: RedisSettings = service.extra_config.get("redis") or RedisSettings()
    pools = {pool.name: pool for pool in redis.connection_pools}
    if settings.pool_name not in pools:
        return local
    counters = open_counters(pools[settings.pool_name], assembly)
    fallback = local if settings.on_failure_allow else refuse_all
    return build_redis_guard(limits, counters, fallback, denials)


def guarded(guard: Guard, service: Service, *, waits: bool) -> Layer:
    """A layer that limits all requests except those for health and readiness. ``waits``: the guard
    may have to wait."""
    unlimited = (service.router.health_path, service.gateway.ready_path)

    def wrap(app: ASGIApp) -> ASGIApp:
        admitted = _with_headers(app, guard) if isinstance(guard, HeaderGuard) else app

        async def limited(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and _path(scope) not in unlimited:
                try:
                    if (waiting := guard(_request(scope))) is not None:
                        await waiting
                except Refused as refused:
                    await send_answer(send, text(refused.status, "", *refused.headers))
                else:
                    await admitted(scope, receive, send)
                return
            await app(scope, receive, send)

        return limited

    def plain(request: Request) -> Awaitable[None] | None:
        return None if request.path in unlimited else guard(request)

    is_all = not waits and not isinstance(guard, HeaderGuard)
    return Layer(wrap=wrap, guard=plain if is_all else None)


def _with_headers(app: ASGIApp, guard: HeaderGuard) -> ASGIApp:
    async def described(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, _adding(send, guard.headers(_request(scope))))

    return described


def _adding(send: Send, headers: Headers) -> Send:
    """A response that has such headers keeps them: they are those of its endpoint's limit."""

    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = message["headers"]
            if not any(name in HEADER_NAMES for name, _ in own):
                message = {**message, "headers": [*headers, *own]}
        await send(message)

    return add


def _path(scope: Scope) -> str:
    """The path below the prefix at which the gateway is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path") or "")


def _request(scope: Scope) -> Request:
    """The request as it is known before it is routed."""
    remote = (scope.get("client") or UNKNOWN_CLIENT)[0]
    return Request(scope["method"], scope["path"], {}, scope["headers"], remote=remote)


def build_backend_limit(
    settings: BackendLimitSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Stage:
    """``qos/ratelimit/proxy``."""
    rate = settings.rate
    if rate is None:
        return lambda branch: branch
    place = next(number for number, each in enumerate(endpoint.backend) if each is backend)
    kind = type(endpoint).__name__  # an agent may have the name of an endpoint
    key = fingerprint(f"{kind} {endpoint.method} {endpoint.endpoint} backend {place}")
    denials = count_denials(name_of(endpoint), assembly)
    return BackendLimit(open_store(assembly), key, rate, denials)


class BackendLimit:
    """A stage that takes a token for each request; a failed request uses its token too."""

    def __init__(self, store: Store, key: bytes, rate: Rate, denials: Denials) -> None:
        self._denials = denials
        self._store = store
        self._key = key
        self._rate = rate

    def __call__(self, branch: P, /) -> P:
        return intercepted(branch, self)

    def begin(self, request: Request) -> Call:
        if not self._store.take(self._key, self._rate):
            self._denials.count += 1
            raise RateLimitExceeded
        return LimitedCall(request, self)

    def put_back(self) -> None:
        """Give the token of a request back that did not reach the backend."""
        self._store.put_back(self._key, self._rate)


class LimitedCall:
    """A request that has taken a token."""

    __slots__ = ("_limit", "request")

    def __init__(self, request: Request, limit: BackendLimit) -> None:
        self.request = request
        self._limit = limit

    def finish(self, part: Part) -> Part:
        return part

    def abandon(self, *, reached_backend: bool) -> None:
        if not reached_backend:
            self._limit.put_back()


def open_store(assembly: Assembly) -> Store:
    """The buckets in memory that all workers share; those of this process if there is only one
    worker."""
    if assembly.shared_memory is None:
        return Buckets()
    descriptor = assembly.shared_memory
    return assembly.resource("rate limits", lambda: SharedBuckets(descriptor))


def open_counters(pool: RedisPool, assembly: Assembly) -> Counters:
    """The counters of that Redis. The library is imported only if the configuration needs it."""
    try:
        from .redis import RedisCounters
    except ImportError as error:
        raise GatewayError(f'redis: {error}; install "hutch-gateway[redis]"') from error
    return assembly.resource(("redis", pool.name), lambda: RedisCounters(pool, assembly.side))


BACKEND = Component(
    "qos/ratelimit/proxy",
    BackendLimitSettings,
    backend_stage=build_backend_limit,
    passes_bodies=True,
    findings=backend_findings,
)


ROUTER = Component(
    "qos/ratelimit/router",
    LimitSettings,
    verify=verify_limits,
    guard=build_router_limit,
    findings=findings,
    advice=ADVICE,
)


ROUTER_REDIS = Component(
    "qos/ratelimit/router/redis",
    RedisLimitSettings,
    verify=verify_limits,
    guard=build_redis_router_limit,
    findings=findings,
)


SERVICE = Component(
    "qos/ratelimit/service",
    LimitSettings,
    verify=verify_limits,
    layer=build_service_limit,
    findings=findings,
)


SERVICE_REDIS = Component(
    "qos/ratelimit/service/redis",
    RedisLimitSettings,
    verify=verify_limits,
    layer=build_redis_service_limit,
    findings=findings,
)


REDIS = Component(
    "redis",
    RedisSettings,
    service=True,
)
