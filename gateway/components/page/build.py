"""``page`` of ``gateway``: the page on the management port, what it needs, what ``check`` and
``audit`` say about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from ...config.findings import Finding
from ...config.structs import GatewaySettings, PageSettings, Service
from ...core.asgi import ASGIApp
from ...core.component import Assembly, Place
from ...core.counted import ResponseCounter
from ...core.failures import NoteFailure
from ...core.proxy import Guard
from ...core.rule import Rule, is_local, when
from ..auth.basic import NAMESPACE as BASIC
from ..auth.basic import build_basic_guard
from ..auth.settings import BasicSettings
from .counting import EndpointCounters
from .failures import FailureNotes
from .page import Page

MIN_HISTORY, MAX_HISTORY = 60.0, 3600.0
"""Seconds. A point needs 52 bytes, and each endpoint a copy of its numbers every 15 seconds."""

MAX_SAMPLES = 1000


def page_of(service: Service) -> PageSettings | None:
    """The settings of the page; None: there is none."""
    gateway = service.gateway
    is_on = gateway.page.enabled and gateway.management_port is not None
    return gateway.page if is_on else None


def uses_metrics(settings: GatewaySettings, service: Service) -> bool:
    return page_of(service) is not None


def share_counts(service: Service, assembly: Assembly) -> EndpointCounters:
    return assembly.shared(EndpointCounters, lambda: EndpointCounters(service.endpoints))


def share_failures(settings: PageSettings, assembly: Assembly) -> FailureNotes:
    return assembly.shared(FailureNotes, lambda: FailureNotes(assembly.worker, settings.samples))


def build_response_counter(
    settings: GatewaySettings, service: Service, assembly: Assembly
) -> ResponseCounter | None:
    page = page_of(service)
    return None if page is None else share_counts(service, assembly)


def build_failure_observer(
    settings: GatewaySettings, service: Service, assembly: Assembly
) -> NoteFailure | None:
    page = page_of(service)
    return None if page is None else share_failures(page, assembly).note


def build_management(
    settings: GatewaySettings, service: Service, assembly: Assembly
) -> Mapping[str, ASGIApp]:
    page = page_of(service)
    if page is None:
        return {}
    counts, failures = share_counts(service, assembly), share_failures(page, assembly)
    guard = _build_login_guard(page, service, assembly)
    return assembly.resource("page", lambda: Page(page, assembly, counts, failures, guard)).apps()


def _build_login_guard(page: PageSettings, service: Service, assembly: Assembly) -> Guard | None:
    if page.auth is None:
        return None
    users: BasicSettings = service.extra_config[BASIC]
    return build_basic_guard(users, assembly)


# What check says.


def page_findings(settings: GatewaySettings, place: Place) -> Iterator[Finding]:
    page, service = settings.page, place.service
    for key, text in _errors(page, settings, service):
        yield place.error(text, f"page.{key}")
    if page == PageSettings() or not page.enabled:
        return
    if settings.management_port is None:
        yield place.warning("no effect: the page is on management_port, and there is none", "page")
    elif not _can_be_opened(page, service):
        text = (
            "the page cannot be opened: the management port does not listen on "
            f"{page.listen_ip or 'this machine'} (listen_ip of the root): set auth or listen_ip"
        )
        yield place.warning(text, "page")
    if page.bodies:
        yield place.warning("no effect: bodies are never kept", "page.bodies")


def _errors(
    page: PageSettings, settings: GatewaySettings, service: Service
) -> Iterator[tuple[str, str]]:
    """What would make the page useless, or leave it open."""
    taken = (settings.ready_path, service.router.health_path)
    if not page.path.startswith("/") or page.path in taken:
        yield "path", f'expected a path of its own that begins with "/", found "{page.path}"'
    if page.listen_ip is not None and not _is_address(page.listen_ip):
        yield "listen_ip", f'expected an IP address, found "{page.listen_ip}"'
    if not MIN_HISTORY <= page.history <= MAX_HISTORY:
        yield "history", f"expected 1m to 1h, found {page.history:g}s"
    if not 0 < page.samples <= MAX_SAMPLES:
        yield "samples", f"expected 1 to {MAX_SAMPLES}, found {page.samples}"
    if page.auth is not None and page.auth != BASIC:
        yield "auth", f'expected "{BASIC}", found "{page.auth}"'
    elif page.auth is not None:
        users: BasicSettings | None = service.extra_config.get(BASIC)
        if users is None or not users.has_users:
            yield "auth", f"the root has no users: add {BASIC} to its extra_config"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _can_be_opened(page: PageSettings, service: Service) -> bool:
    """Whether the management port listens where the page may be opened."""
    port_ip = service.listen_ip
    if not port_ip or ip_address(port_ip).is_unspecified:
        return True
    if page.listen_ip is None:
        return page.auth is not None or is_local(port_ip)
    return ip_address(page.listen_ip).is_unspecified or page.listen_ip == port_ip


# What audit says.


def is_page_open(service: Service) -> bool:
    """Whether other machines can read the page without a login."""
    page = page_of(service)
    if page is None or page.auth is not None or page.listen_ip is None:
        return False
    is_port_local = bool(service.listen_ip) and is_local(service.listen_ip)
    return not is_port_local and not is_local(page.listen_ip)


OPEN_PAGE = Rule(
    "9.1.5",
    "HIGH",
    "Anybody who reaches the management port can read the page, with the names of hosts and "
    "queues: set auth of gateway.page, or leave listen_ip out.",
    lambda service: when(is_page_open(service), "$.extra_config.gateway.page"),
)
