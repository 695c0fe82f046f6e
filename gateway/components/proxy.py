"""``proxy`` on an endpoint: ``flatmap_filter`` and ``static``, on the merged response.

The order in which backends are called, and ``shadow``, are decided where pipes are built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..amqp.settings import CONSUMER
from ..config.findings import Finding
from ..config.proxy import (
    NAMESPACE,
    FlatmapOperation,
    ProxySettings,
    StaticSettings,
    proxy_settings,
)
from ..config.structs import Backend, Endpoint, Service
from ..core.component import Component, Place
from ..core.helpers import Helped, Helpers
from ..core.large import MAX_INLINE_MANIPULATED, build_flatmap_pieces, size_of, whole
from ..core.merging import Report, ignore
from ..core.pipe import coroutine_of
from ..core.proxy import COMPLETE, INCOMPLETE, PARTS_FAILED, Part, Pipe, Request, Response
from ..core.rule import Rule, where_endpoint
from ..core.sequence import propagated, references, references_in_settings
from ..encoding import Document, encode_json, reason_of
from ..encoding.flatmap import build_flatmap, problem
from ..errors import GatewayError

STRATEGIES: dict[str, Callable[[Part], bool]] = {
    "always": lambda part: True,
    "success": lambda part: isinstance(part, Response) and not part.has_failures,
    "errored": lambda part: not isinstance(part, Response) or part.has_failures,
    "complete": lambda part: isinstance(part, Response) and part.is_whole,
    "incomplete": lambda part: not isinstance(part, Response) or not part.is_whole,
}
"""When static data is added to a response, or replaces a failure. An unknown name means "always",
as in KrakenD."""


def flatmapped(pipe: Pipe, operations: tuple[FlatmapOperation, ...], helpers: Helpers) -> Pipe:
    """The pipe with the operations applied to each response, unless a part of it failed."""
    inner, flatmap = coroutine_of(pipe), build_flatmap(operations)
    if flatmap is None:
        return pipe
    large = Helped(helpers, build_flatmap_pieces, operations)

    async def ask(request: Request) -> Response:
        response = await inner(request)
        if response.data is None or response.has_failures:
            return response
        try:
            if size_of(response.data) <= MAX_INLINE_MANIPULATED:
                data = flatmap(response.data)
            else:
                data = whole(await large.run(encode_json(response.data)))
        except Exception as error:
            response.park()
            raise GatewayError(reason_of(error)) from error
        return response.with_data(data, INCOMPLETE if data is None else None)

    return Pipe(ask, reads_body=pipe.reads_body)


def with_static(
    pipe: Pipe,
    settings: StaticSettings,
    data: Document,
    report: Report = ignore,
    *,
    is_passed_on: bool = False,
) -> Pipe:
    """The pipe with ``data`` added to its responses, or in place of its failures.

    ``report`` gets a failure that is replaced. A failure that decides is not replaced: otherwise a
    client could believe that its message is published. With ``is_passed_on`` (``no-op``) no failure
    is replaced: the response has no document for the data.
    """
    inner = coroutine_of(pipe)
    matches = STRATEGIES.get(settings.strategy, STRATEGIES["always"])

    async def ask(request: Request) -> Response:
        try:
            response = await inner(request)
        except GatewayError as error:
            if error.decides or is_passed_on or not matches(error):
                raise
            report(error, request)
            return Response(dict(data), PARTS_FAILED)
        if not matches(response):
            return response
        completeness = COMPLETE if response.is_whole else None
        return response.with_data({**(response.data or {}), **data}, completeness)

    return Pipe(ask, reads_body=pipe.reads_body)


def findings(settings: ProxySettings, place: Place) -> Iterator[Finding]:
    backend, endpoint = place.backend, place.endpoint
    if backend is not None:
        traps = _on_backend(backend, settings)
    else:
        traps = _on_endpoint(endpoint, settings) if endpoint is not None else iter(())
    yield from place.warnings((*traps, *_operations(settings)))


def overall(service: Service) -> Iterator[Finding]:
    """References to responses of earlier backends that do not exist."""
    for index, endpoint in enumerate(service.endpoints):
        is_sequential = proxy_settings(endpoint).sequential
        merged = _merged(endpoint)
        for number, backend in enumerate(endpoint.backend):
            earlier = merged.index(backend) if backend in merged else 0
            found = (
                ("url_pattern", references(backend.url_pattern)),
                ("extra_config", dict.fromkeys(references_in_settings(backend))),
            )
            for key, keys_references in found:
                for reference in keys_references:
                    if not is_sequential or reference.number >= earlier:
                        text = f"there is no earlier response {reference.number}: it always fails"
                        path = f"$.endpoints[{index}].backend[{number}].{key}"
                        yield Finding(path, "warning", text)


def _merged(endpoint: Endpoint) -> list[Backend]:
    """The backends whose responses are merged: all but the shadows."""
    return [each for each in endpoint.backend if not proxy_settings(each).shadow]


def _on_endpoint(endpoint: Endpoint, settings: ProxySettings) -> Iterator[tuple[str, str]]:
    static = settings.static
    if static is not None:
        if static.data is None:
            yield "static", "has no effect without data"
        elif endpoint.output_encoding == "no-op":
            yield (
                "static",
                "with no-op the data is not in the response, which only becomes complete",
            )
        if static.strategy not in STRATEGIES:
            known = ", ".join(STRATEGIES)
            yield "static.strategy", f'unknown, "always" is used; the strategies are: {known}'
    if settings.combiner != "default":
        yield "combiner", 'unknown, "default" is used'
    merged = _merged(endpoint)
    if settings.flatmap_filter and len(merged) == 1:
        yield "flatmap_filter", "has no effect with one backend: move it to the backend"
    if settings.sequential and len(merged) == 1:
        yield "sequential", "has no effect with one backend"
    yield from _propagated(settings, merged)
    if settings.shadow:
        yield "shadow", "has no meaning on an endpoint, ignored"


def _propagated(settings: ProxySettings, merged: Sequence[Backend]) -> Iterator[tuple[str, str]]:
    """Parameters that no response will ever set."""
    for index, name in enumerate(settings.sequential_propagated_params):
        for reference in propagated([name]):
            number = reference.number
            if number >= len(merged) - 1:
                text = f"no backend is called after response {number}"
            elif not reference.field and merged[number].encoding != "no-op":
                text = (
                    f'the whole response of backend {number} needs "encoding": "no-op"; '
                    f"with another encoding use resp{number}_KEY for one value"
                )
            else:
                continue
            yield f"sequential_propagated_params[{index}]", f"{name}: {text}"


def _on_backend(backend: Backend, settings: ProxySettings) -> Iterator[tuple[str, str]]:
    if settings.sequential:
        yield "sequential", "has no meaning on a backend, ignored"
    if settings.static is not None:
        yield "static", "has no meaning on a backend, ignored"
    if settings.flatmap_filter and (backend.allow or backend.deny or backend.mapping):
        yield "flatmap_filter", "allow, deny and mapping are ignored, since this key is set"
    if settings.shadow and CONSUMER in backend.extra_config:
        yield "shadow", "has no effect on a consumer: each message goes back to its queue"


def _operations(settings: ProxySettings) -> Iterator[tuple[str, str]]:
    for index, operation in enumerate(settings.flatmap_filter):
        if text := problem(operation):
            yield f"flatmap_filter[{index}]", f"{text}: ignored"


COMPONENT = Component(
    NAMESPACE,
    ProxySettings,
    aliases=("github.com/devopsfaith/krakend/proxy",),
    read_on=frozenset({"endpoint", "agent", "backend"}),
    findings=findings,
    overall=overall,
    advice=(
        Rule(
            "5.1.7",
            "MEDIUM",
            "Avoid sequences of backends.",
            where_endpoint(lambda endpoint: proxy_settings(endpoint).sequential),
        ),
    ),
)
