"""Traps of ``qos/circuit-breaker``. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...components.breaker import BREAKER_OURS, DEFAULT_TIMEOUT, BreakerSettings
from ...config.findings import Finding
from ...config.structs import Backend
from .settings import changed

NAMESPACE = "qos/circuit-breaker"


def check_breaker(backend: Backend, path: str) -> Iterator[Finding]:
    """Remarks on the breaker of one backend; ``path``: of the backend."""
    settings = backend.extra_config.get(NAMESPACE)
    if isinstance(settings, BreakerSettings):
        where = f'{path}.extra_config["{NAMESPACE}"]'
        for text in _remarks(settings, backend):
            yield Finding(where, "warning", text)
        if used := sorted(BREAKER_OURS & changed(settings)):
            yield Finding(where, "hint", f"only this gateway knows: {', '.join(used)}")


def _remarks(settings: BreakerSettings, backend: Backend) -> Iterator[str]:
    if settings.is_off:
        yield "nothing is set: there is no breaker"
        return
    if settings.max_errors == 0:
        yield "max_errors 0: the first failure opens it"
    elif settings.max_errors < 0:
        yield "max_errors below 0: it never opens"
    if settings.timeout <= 0:
        yield f"no timeout: an open breaker leaves the backend alone for {DEFAULT_TIMEOUT} s"
    if settings.interval <= 0:
        yield "no interval: failures in a row count, however long ago they were"
    if "backend/amqp/consumer" in backend.extra_config:
        yield (
            "of little use on a consumer: an empty queue is no failure, a link to a broker is "
            "repaired by itself, and while the breaker is open messages wait"
        )
    if backend.encoding == "no-op":
        yield "with no-op every status is a success: only who does not answer has failed"
