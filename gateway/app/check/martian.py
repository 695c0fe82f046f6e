"""Traps of ``modifier/martian``. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...components.martian.stage import why_without_effect
from ...config.findings import Finding
from ...config.structs import Backend

NAMESPACE = "modifier/martian"


def check_martian(backend: Backend, path: str) -> Iterator[Finding]:
    """Remarks on one backend; ``path``: of the backend."""
    settings = backend.extra_config.get(NAMESPACE)
    if settings is None:
        return
    where = f'{path}.extra_config["{NAMESPACE}"]'
    if reason := why_without_effect(settings):
        yield Finding(where, "warning", f"{reason}: without effect, as in KrakenD")
    if any(name.startswith("backend/amqp/") for name in backend.extra_config):
        yield Finding(where, "warning", "without effect: it changes what goes over HTTP")
