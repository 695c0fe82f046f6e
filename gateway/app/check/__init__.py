"""Findings about settings that have the right types but do not work as meant. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from ...config.findings import Finding, key_path, part_of
from ...config.load import Loaded
from ...config.structs import Agent, Backend, Endpoint, Extra, Service
from ...core.component import Catalog, Place, own_keys_used
from ..build import AnyComponent, build_agent_endpoint, source_of
from .ports import check_ports
from .tls import check_tls


def with_check_findings(loaded: Loaded, catalog: Catalog) -> Loaded:
    """``loaded`` with the findings of :func:`check`.

    A warning or a hint may be only the consequence of an error. Those of an endpoint with an error
    are left out; all of them when ``extra_config`` of the root has an error.
    """
    errors = [each.path for each in loaded.findings if each.severity == "error"]
    faulty = set(map(part_of, errors))
    is_all_faulty = any(path.startswith("$.extra_config") for path in errors)
    found = tuple(
        each
        for each in loaded.places.of_service(check(loaded.service, catalog))
        if each.severity == "error" or not (is_all_faulty or part_of(each.path) in faulty)
    )
    return replace(loaded, check_findings=found)


def check(service: Service, catalog: Catalog) -> Iterator[Finding]:
    """Findings on a service. Their paths have the positions in the service, not in the file."""
    yield from check_tls(service)
    yield from check_ports(service, catalog)
    yield from _on_level(service.extra_config, catalog, Place("$", "", service))
    for number, endpoint in enumerate(service.endpoints):
        place = Place(f"$.endpoints[{number}]", "", service, endpoint)
        yield from _on_part(endpoint, catalog, place)
        for at, backend in enumerate(endpoint.backend):
            yield from _on_backend(backend, endpoint, f"{place.part}.backend[{at}]")
    for number, agent in enumerate(service.async_agent):
        path = f"$.async_agent[{number}]"
        place = Place(path, "", service, build_agent_endpoint(agent), agent)
        yield from _on_part(agent, catalog, place)
    for row in catalog:
        if row.overall is not None:
            yield from row.overall(service)


def _on_part(part: Endpoint | Agent, catalog: Catalog, place: Place) -> Iterator[Finding]:
    """Findings on an endpoint or an agent, and on ``extra_config`` of its backends."""
    yield from _on_level(part.extra_config, catalog, place)
    for number, backend in enumerate(part.backend):
        path = f"{place.part}.backend[{number}]"
        yield from _on_hosts(backend, source_of(backend, catalog), path)
        inside = replace(place, part=path, backend=backend)
        yield from _on_level(backend.extra_config, catalog, inside)


def _on_level(extra_config: Extra, catalog: Catalog, place: Place) -> Iterator[Finding]:
    for row in catalog:
        settings = extra_config.get(row.namespace)
        if settings is None:
            continue
        where = replace(place, path=key_path(f"{place.part}.extra_config", row.namespace))
        if row.findings is not None:
            yield from row.findings(settings, where)
        yield from own_keys_used(settings, where)


def _on_hosts(backend: Backend, source: AnyComponent | None, path: str) -> Iterator[Finding]:
    if source is None or source.host_findings is None or backend.sd != "static":
        return
    found = [
        finding
        for number, host in enumerate(backend.host)
        for finding in source.host_findings(host, f"{path}.host[{number}]")
    ]
    yield from found
    if source.is_default and found and len(found) == len(backend.host):
        yield Finding(f"{path}.host", "warning", "no usable host: every request will fail")


def _on_backend(backend: Backend, endpoint: Endpoint, path: str) -> Iterator[Finding]:
    for key in ("input_headers", "input_query_strings"):
        if "*" in getattr(backend, key):
            yield Finding(f"{path}.{key}", "warning", '"*" has an effect on endpoints only')
    if backend.encoding == "no-op" and endpoint.output_encoding != "no-op":
        text = (
            "the response of this backend is not used: the output_encoding of the endpoint is "
            f'"{endpoint.output_encoding}", not "no-op"'
        )
        yield Finding(f"{path}.encoding", "warning", text)
