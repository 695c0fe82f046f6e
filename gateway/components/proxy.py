"""``proxy`` on an endpoint: ``flatmap_filter`` and ``static``, on the whole answer.

How its backends are asked, and ``shadow``, is decided where pipes are built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

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
from ..core.pipe import coroutine_of
from ..core.proxy import COMPLETE, INCOMPLETE, PARTS_FAILED, Part, Pipe, Request, Response
from ..core.rule import Rule, where_endpoint
from ..core.sequence import propagated, references, references_in_settings
from ..encoding import encode_json, reason_of
from ..encoding.flatmap import build_flatmap, problem
from ..errors import GatewayError

STRATEGIES: dict[str, Callable[[Part], bool]] = {
    "always": lambda part: True,
    "success": lambda part: isinstance(part, Response) and not part.has_failures,
    "errored": lambda part: not isinstance(part, Response) or part.has_failures,
    "complete": lambda part: isinstance(part, Response) and part.is_whole,
    "incomplete": lambda part: not isinstance(part, Response) or not part.is_whole,
}
"""When the data is put over an answer, or in the place of a failure; an unknown name means
"always", as in KrakenD."""


def flatmapped(pipe: Pipe, operations: tuple[FlatmapOperation, ...], helpers: Helpers) -> Pipe:
    """The pipe whose answers go through the operations, unless a part failed."""
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
    data: dict[str, Any],
    report: Callable[[GatewayError], object] = lambda failure: None,
    *,
    is_passed_on: bool = False,
) -> Pipe:
    """The pipe with ``data`` put over its answers, or answered in place of its failures, which
    ``report`` gets.

    A failure that decides stays: nobody may take a message for published that is not. So does any
    failure where the answer is passed on as it came (``no-op``): there is no place for the data.
    """
    inner = coroutine_of(pipe)
    matches = STRATEGIES.get(settings.strategy, STRATEGIES["always"])

    async def ask(request: Request) -> Response:
        try:
            response = await inner(request)
        except GatewayError as error:
            if error.decides or is_passed_on or not matches(error):
                raise
            report(error)
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
    """References to earlier answers that are not there."""
    for place, endpoint in enumerate(service.endpoints):
        is_sequential = proxy_settings(endpoint).sequential
        answering = [each for each in endpoint.backend if not proxy_settings(each).shadow]
        for number, backend in enumerate(endpoint.backend):
            before = answering.index(backend) if backend in answering else 0
            asked = (
                ("url_pattern", references(backend.url_pattern)),
                ("extra_config", dict.fromkeys(references_in_settings(backend))),
            )
            for key, found in asked:
                for reference in found:
                    if not is_sequential or reference.number >= before:
                        text = f"there is no earlier answer {reference.number}: it will always fail"
                        path = f"$.endpoints[{place}].backend[{number}].{key}"
                        yield Finding(path, "warning", text)


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
    if settings.shadow and CONSUMER in backend.extra_config:
        yield "shadow", "nobody sees the message: it goes back to its queue"


def _operations(settings: ProxySettings) -> Iterator[tuple[str, str]]:
    for place, operation in enumerate(settings.flatmap_filter):
        if text := problem(operation):
            yield f"flatmap_filter[{place}]", f"{text}: ignored"


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
