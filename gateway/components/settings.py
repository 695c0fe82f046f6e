"""``router`` and ``gateway``: checks of the settings of the whole service."""

from __future__ import annotations

from collections.abc import Iterator

from ..config.findings import Finding
from ..config.structs import GatewaySettings, RouterSettings, Service
from ..core.component import MAX_PORT, Component, Place
from ..core.forwarding import network_of
from ..core.rule import Rule, is_http, is_local, when
from .page import build as page

MORE_THAN_0 = (
    *("header_timeout", "body_timeout", "answer_timeout", "idle_timeout"),
    *("max_connections", "max_requests", "buffer_bytes", "max_unconfirmed", "max_answer_bytes"),
    *("max_unsent_bytes", "max_connection_unsent_bytes"),
)


def router_findings(settings: RouterSettings, place: Place) -> Iterator[Finding]:
    for number, text in enumerate(settings.trusted_proxies):
        if network_of(text) is None:
            text = f'"{text}" is not a network such as 10.0.0.0/8: ignored'
            yield place.warning(text, f"trusted_proxies[{number}]")
    if not settings.health_path.startswith("/"):
        yield place.warning(_bad_path(settings.health_path), "health_path")


def gateway_findings(settings: GatewaySettings, place: Place) -> Iterator[Finding]:
    for key in MORE_THAN_0:
        if (value := getattr(settings, key)) <= 0:
            yield place.error(f"expected more than 0, found {value:g}", key)
    if settings.max_body_bytes < 0:
        yield place.error(f"expected 0 or more, found {settings.max_body_bytes}", "max_body_bytes")
    port = settings.management_port
    if port is not None and not 0 <= port <= MAX_PORT:
        yield place.error(f"expected 0 to {MAX_PORT}, found {port}", "management_port")
    if not settings.ready_path.startswith("/"):
        yield place.warning(_bad_path(settings.ready_path), "ready_path")
    yield from page.page_findings(settings, place)


def _bad_path(path: str) -> str:
    return f'"{path}" does not begin with "/": no request can reach it'


LARGE_BODY = 100 * 1024 * 1024


def _large_bodies(service: Service) -> bool:
    largest: int = service.gateway.max_body_bytes
    return largest > LARGE_BODY


def _is_management_open(service: Service) -> bool:
    """An open page is more: that is a rule of its own."""
    port = service.gateway.management_port
    is_open = port is not None and not (service.listen_ip and is_local(service.listen_ip))
    return is_open and not page.is_page_open(service)


def _is_readiness_public(service: Service) -> bool:
    if service.router.disable_health:
        return False
    has_broker = service.async_agent or any(
        not is_http(backend) for endpoint in service.endpoints for backend in endpoint.backend
    )
    return bool(has_broker) and service.gateway.management_port is None


ROUTER_ADVICE = (
    Rule(
        "2.2.1",
        "MEDIUM",
        "Hide the version (router.hide_version_header).",
        lambda service: when(not service.router.hide_version_header),
    ),
    Rule(
        "9.1.4",
        "LOW",
        "Texts of errors go to clients (router.return_error_msg).",
        lambda service: when(service.router.return_error_msg, "$.extra_config.router"),
    ),
)
GATEWAY_ADVICE = (
    Rule(
        "9.1.2",
        "MEDIUM",
        "The management port is open on every address: let only your network reach it.",
        lambda service: when(_is_management_open(service), "$.extra_config.gateway"),
    ),
    page.OPEN_PAGE,
    Rule(
        "9.1.3",
        "LOW",
        "/__ready tells everybody the names of queues: move it to a management_port.",
        lambda service: when(_is_readiness_public(service)),
    ),
    Rule(
        "9.3.2",
        "MEDIUM",
        "Bodies are as good as unlimited (gateway.max_body_bytes).",
        lambda service: when(_large_bodies(service), "$.extra_config.gateway"),
    ),
)
ROUTER = Component(
    "router",
    RouterSettings,
    aliases=("github_com/luraproject/lura/router/gin",),
    findings=router_findings,
    advice=ROUTER_ADVICE,
    service=True,
)
GATEWAY = Component(
    "gateway",
    GatewaySettings,
    findings=gateway_findings,
    advice=GATEWAY_ADVICE,
    service=True,
    uses_metrics=page.uses_metrics,
    response_counter=page.build_response_counter,
    failure_observer=page.build_failure_observer,
    management=page.build_management,
)
