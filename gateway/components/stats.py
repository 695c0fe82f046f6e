"""``telemetry/metrics``: numbers of requests, endpoints and backends as one JSON object on
``/__stats``, under the names of krakend-metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address

from ..config.findings import Finding
from ..config.structs import Backend, Endpoint, Seconds, Service
from ..core.asgi import ASGIApp, AsgiResponse, Receive, Scope, Send, send_answer, text
from ..core.component import MAX_PORT, Assembly, Component, ListenAddress, Listener, Place
from ..core.families import MetricsSettings
from ..core.observed import FOUND, Observation, Observer, Report, ignore_response
from ..core.observed_parts import observed_parts
from ..core.proxy import Branch, P, Pipe
from .otel.measures import names_of
from .otel.opentelemetry import is_alone
from .otel.settings import route_of
from .stats_numbers import LayerName, Stats, backend_name

NAMESPACE = "telemetry/metrics"
PATH = "/__stats"
DEFAULT_ADDRESS = ":8090"
"""Of ``listen_address``, also if that is empty. KrakenD's default."""


class StatsSettings(MetricsSettings, frozen=True, kw_only=True):
    collection_time: Seconds = 60.0
    """How long a period is: then durations, sizes and connections are counted from zero again."""
    listen_address: str = DEFAULT_ADDRESS
    """Where `/__stats` is: `:port` or a number for every address, or `ip:port`."""
    endpoint_disabled: bool = False
    """Whether `/__stats` is off, on that port and on `management_port`. Then nothing is counted."""
    router_disabled: bool = False
    """Whether responses to clients are not counted."""
    proxy_disabled: bool = False
    """Whether endpoints and agents are not counted."""
    backend_disabled: bool = False
    """Whether backends are not counted."""


def shared_stats(settings: StatsSettings, assembly: Assembly) -> Stats | None:
    """What the builders of one gateway count in. None: nothing reads it.

    Only the first worker opens the port: the others are read on ``management_port`` only.
    """
    is_read = not assembly.worker or assembly.service.gateway.management_port is not None
    if settings.endpoint_disabled or not is_read:
        return None
    return assembly.shared(NAMESPACE, lambda: Stats(settings.collection_time))


def build_observer(
    settings: StatsSettings, service: Service, assembly: Assembly
) -> Observer | None:
    stats = shared_stats(settings, assembly)
    if stats is None or settings.router_disabled:
        return None
    paths = {each.endpoint for each in service.endpoints}
    reports = {path: stats.responses_of(route_of(path)).report for path in paths}

    def observe(scope: Scope) -> Report:
        found: list[str] = scope[FOUND]
        if found:
            return reports.get(found[0], ignore_response)

        def report(status: int, size: int, seconds: float, seen: Observation) -> None:
            if found:
                reports.get(found[0], ignore_response)(status, size, seconds, seen)

        return report

    return observe


def build_pipe_observer(
    settings: StatsSettings, endpoint: Endpoint, assembly: Assembly
) -> Callable[[Pipe], Pipe]:
    stats = shared_stats(settings, assembly)
    if stats is None or settings.proxy_disabled:
        return _same
    if is_alone(endpoint, assembly) and not settings.backend_disabled:
        return _same  # the branch counts for both: that costs half
    calls = stats.calls_of(_pipe_name(endpoint))
    return lambda pipe: observed_parts(pipe, calls.observe)


def build_branch_observer(
    settings: StatsSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Callable[[Branch], Branch]:
    stats = shared_stats(settings, assembly)
    if stats is None or settings.backend_disabled:
        return _same
    names: list[tuple[LayerName, str]] = [("backend", backend_name(backend.url_pattern))]
    if is_alone(endpoint, assembly) and not settings.proxy_disabled:
        names.append(_pipe_name(endpoint))
    calls = stats.calls_of(*names)
    return lambda branch: observed_parts(branch, calls.observe)


def _pipe_name(endpoint: Endpoint) -> tuple[LayerName, str]:
    """Of an agent: its name."""
    _, route = names_of(endpoint)
    return "pipe", route


def _same(branch: P) -> P:
    return branch


class StatsPage:
    """Serves ``/__stats``."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_answer(send, self._answer(scope["method"], scope["path"]))

    def _answer(self, method: str, path: str) -> AsgiResponse:
        if method == "GET" and path == PATH:
            content_type = b"application/json; charset=utf-8"
            return AsgiResponse(200, [(b"content-type", content_type)], self._stats.text())
        if method == "GET" and path == f"{PATH}/":
            return AsgiResponse(301, [(b"location", PATH.encode())])
        return text(404, "404 page not found", charset=False)


def build_management(
    settings: StatsSettings, service: Service, assembly: Assembly
) -> Mapping[str, ASGIApp]:
    stats = shared_stats(settings, assembly)
    return {} if stats is None else {PATH: StatsPage(stats).app}


def build_listeners(
    settings: StatsSettings, service: Service, assembly: Assembly
) -> Iterator[Listener]:
    stats = shared_stats(settings, assembly)
    if stats is not None and not assembly.worker:
        host, port = split_address(settings.listen_address)
        yield Listener(host, port, StatsPage(stats).app)


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``:8090``, ``8090``, ``127.0.0.1:8090`` and ``[::1]:8090``; the host is
    empty for every address. Raises ValueError."""
    host, _, digits = (address or DEFAULT_ADDRESS).rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if host:
        ip_address(host)
    is_port = digits.isascii() and digits.isdigit() and 0 < int(digits) <= MAX_PORT
    if not is_port:
        raise ValueError(address)
    return host, int(digits)


def addresses(settings: StatsSettings, service: Service) -> Iterator[ListenAddress]:
    if settings.endpoint_disabled:
        return
    with suppress(ValueError):  # ``verify`` refuses it
        yield ListenAddress("listen_address", *split_address(settings.listen_address))


def verify(settings: StatsSettings) -> Iterator[tuple[str, str]]:
    if settings.collection_time <= 0:
        yield "collection_time", "expected a duration above 0"
    try:
        split_address(settings.listen_address)
    except ValueError:
        text = f'expected ":port" or "ip:port", found "{settings.listen_address}"'
        yield "listen_address", text


def findings(settings: StatsSettings, place: Place) -> Iterator[Finding]:
    if settings.endpoint_disabled:
        text = "there is no other way to read these numbers, so nothing is counted"
        yield place.warning(text, "endpoint_disabled")
        return
    yield place.hint(
        "with several workers this port has the numbers of the first worker; on management_port "
        "the worker that answers shows its own numbers",
        "listen_address",
    )
    yield place.hint(
        "/__stats does not have krakend.service.*, memstats and cmdline, which are about the "
        "process of KrakenD; krakend.router.connected is counted when the response is over"
    )


COMPONENT = Component(
    NAMESPACE,
    StatsSettings,
    aliases=("github_com/devopsfaith/krakend-metrics",),
    service=True,
    verify=verify,
    findings=findings,
    observer=build_observer,
    pipe_observer=build_pipe_observer,
    branch_observer=build_branch_observer,
    management=build_management,
    listeners=build_listeners,
    addresses=addresses,
)
