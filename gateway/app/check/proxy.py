"""Traps of ``proxy``: what has no effect, or will never have one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...components.proxy import STRATEGIES
from ...config.findings import Finding
from ...config.proxy import NAMESPACE, ProxySettings, proxy_settings
from ...config.structs import Backend, Endpoint
from ...core.sequence import propagated, references, references_in_settings
from ...encoding.flatmap import problem


def check_proxy(endpoint: Endpoint, path: str) -> Iterator[Finding]:
    """Remarks on one endpoint and its backends; ``path``: of the endpoint."""
    settings = proxy_settings(endpoint)
    where = f"{path}.extra_config.{NAMESPACE}"
    for key, text in (*_on_endpoint(endpoint, settings), *_operations(settings)):
        yield Finding(f"{where}.{key}", "warning", text)
    answering = [each for each in endpoint.backend if not proxy_settings(each).shadow]
    for number, backend in enumerate(endpoint.backend):
        place = f"{path}.backend[{number}]"
        settings = proxy_settings(backend)
        for key, text in (*_on_backend(backend, settings), *_operations(settings)):
            yield Finding(f"{place}.extra_config.{NAMESPACE}.{key}", "warning", text)
        before = answering.index(backend) if backend in answering else 0
        is_sequential = proxy_settings(endpoint).sequential
        asked = (
            ("url_pattern", references(backend.url_pattern)),
            ("extra_config", dict.fromkeys(references_in_settings(backend))),
        )
        for key, found in asked:
            for reference in found:
                if not is_sequential or reference.number >= before:
                    text = f"there is no earlier answer {reference.number}: it will always fail"
                    yield Finding(f"{place}.{key}", "warning", text)


def _on_endpoint(endpoint: Endpoint, settings: ProxySettings) -> Iterator[tuple[str, str]]:
    static = settings.static
    if static is not None:
        if static.data is None:
            yield "static", "without data it has no effect"
        elif endpoint.output_encoding == "no-op":
            yield "static", "with no-op its data is not in the answer, it only makes it complete"
        if static.strategy not in STRATEGIES:
            known = ", ".join(STRATEGIES)
            yield "static.strategy", f'unknown, "always" is used; there are: {known}'
    if settings.combiner != "default":
        yield "combiner", 'unknown, "default" is used'
    answering = [each for each in endpoint.backend if not proxy_settings(each).shadow]
    if settings.flatmap_filter and len(answering) == 1:
        yield "flatmap_filter", "with one backend it has no effect here: it belongs there"
    if settings.sequential and len(answering) == 1:
        yield "sequential", "with one backend it has no effect"
    yield from _propagated(settings, answering)
    if settings.shadow:
        yield "shadow", "has no meaning on an endpoint, ignored"


def _propagated(settings: ProxySettings, answering: Sequence[Backend]) -> Iterator[tuple[str, str]]:
    """Values that will never be there."""
    for place, name in enumerate(settings.sequential_propagated_params):
        for reference in propagated([name]):
            number = reference.number
            if number >= len(answering) - 1:
                text = f"no backend comes after the answer {number}"
            elif not reference.field and answering[number].encoding != "no-op":
                text = (
                    f'the whole answer of backend {number} is there only with "encoding": "no-op"; '
                    f"of others resp{number}_KEY names a value"
                )
            else:
                continue
            yield f"sequential_propagated_params[{place}]", f"{name}: {text}"


def _on_backend(backend: Backend, settings: ProxySettings) -> Iterator[tuple[str, str]]:
    if settings.sequential:
        yield "sequential", "has no meaning on a backend, ignored"
    if settings.static is not None:
        yield "static", "has no meaning on a backend, ignored"
    if settings.flatmap_filter and (backend.allow or backend.deny or backend.mapping):
        yield "flatmap_filter", "beside it allow, deny and mapping are ignored"
    if settings.shadow and "backend/amqp/consumer" in backend.extra_config:
        yield "shadow", "nobody sees the message: it goes back to its queue"


def _operations(settings: ProxySettings) -> Iterator[tuple[str, str]]:
    for place, operation in enumerate(settings.flatmap_filter):
        if text := problem(operation):
            yield f"flatmap_filter[{place}]", f"{text}: ignored"
