"""Faults of ``gateway`` on the service: values with which no request would be answered. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...config.findings import Finding
from ...config.structs import GatewaySettings, RouterSettings, Service

WHERE = "$.extra_config.gateway"
MORE_THAN_0 = (
    *("header_timeout", "body_timeout", "answer_timeout", "idle_timeout"),
    *("max_connections", "max_requests", "buffer_bytes", "max_unconfirmed", "max_answer_bytes"),
    *("max_unsent_bytes", "max_connection_unsent_bytes"),
)


def check_gateway(service: Service) -> Iterator[Finding]:
    settings: GatewaySettings = service.extra_config.get("gateway") or GatewaySettings()
    for key in MORE_THAN_0:
        if (value := getattr(settings, key)) <= 0:
            yield Finding(f"{WHERE}.{key}", "error", f"expected more than 0, found {value:g}")
    if settings.max_body_bytes < 0:
        text = f"expected 0 or more, found {settings.max_body_bytes}"
        yield Finding(f"{WHERE}.max_body_bytes", "error", text)
    port = settings.management_port
    if port is not None and not 0 <= port <= 65535:
        yield Finding(f"{WHERE}.management_port", "error", f"expected 0 to 65535, found {port}")
    elif port and port == service.port:
        text = f"{port} is the port of the service: choose another one"
        yield Finding(f"{WHERE}.management_port", "error", text)
    router: RouterSettings = service.extra_config.get("router") or RouterSettings()
    for where, path in (
        (f"{WHERE}.ready_path", settings.ready_path),
        ("$.extra_config.router.health_path", router.health_path),
    ):
        if not path.startswith("/"):
            yield Finding(where, "warning", f'"{path}" does not begin with "/": never answered')
