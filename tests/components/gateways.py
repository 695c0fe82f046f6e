"""A whole gateway without a server. Its backends are fakes that record their requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from gateway.app.catalog import CATALOG
from gateway.app.service import open_gateway
from gateway.config.findings import ConfigError
from gateway.config.load import load
from gateway.config.structs import Backend, Endpoint
from gateway.core.asgi import ASGIApp
from gateway.core.component import Assembly, Catalog, Component
from gateway.core.proxy import COMPLETE, INCOMPLETE, Arrive, Branch, Request, Response
from gateway.encoding.manipulation import build_reading
from gateway.errors import GatewayError

from ..router.support import Client, Reply, Taken, http_scope

Document: TypeAlias = dict[str, Any]
WAYS = ("ask", "now", "later")


class NoSettings(Struct, frozen=True):
    """The settings of a backend without settings."""


class Backends:
    """Backends whose response is the entry of their path in ``bodies``.

    ``way``: how a branch responds. ``asked``: every request, in order. ``messages``: the messages
    that were taken for them.
    """

    def __init__(self, bodies: Mapping[str, bytes], way: str = "ask", status: int = 200) -> None:
        self.asked: list[Request] = []
        self.messages: list[Taken] = []
        self._bodies = bodies
        self._way = way
        self._status = status

    def build(
        self, settings: NoSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
    ) -> Branch:
        read = build_reading(backend)
        is_passed_on = endpoint.output_encoding == "no-op"

        def answer(request: Request) -> Response:
            self.asked.append(request)
            message = Taken()
            self.messages.append(message)
            request.taken.append(message)
            body = self._bodies.get(backend.url_pattern)
            if body is None:
                raise GatewayError("no")
            if is_passed_on:
                headers = [(b"content-type", b"application/json"), (b"x-one", b"1")]
                return Response({}, COMPLETE, (message,), body, headers, self._status)
            data = read(body)
            return Response(data, INCOMPLETE if data is None else COMPLETE, (message,))

        async def ask(request: Request) -> Response:
            return answer(request)

        def later(request: Request, arrive: Arrive) -> Callable[[], None]:
            try:
                arrive(answer(request))
            except GatewayError as error:
                arrive(error)
            return lambda: None

        return Branch(
            None if self._way == "later" else ask,
            answer if self._way == "now" else None,
            later if self._way == "later" else None,
            reads_body=False,
        )

    def catalog(self) -> Catalog:
        own = Component("backend/test", NoSettings, backend=self.build, is_default=True)
        return catalog_of(own, lambda row: not row.is_default)


def catalog_of(own: Component[Any], is_kept: Callable[[Component[Any]], bool]) -> Catalog:
    """``own``, and the gateway's components for which ``is_kept`` is true, in their order."""
    names = [name for name in Catalog.__struct_fields__ if not name.endswith("encodings")]
    kept = {name: tuple(filter(is_kept, getattr(CATALOG, name))) for name in names}
    return replace(CATALOG, **kept).extended(own)


def backend(path: str = "/a", **keys: object) -> Document:
    return {"url_pattern": path, "host": ["http://backend.test"], **keys}


def document(*backends: Document, **keys: object) -> Document:
    endpoint = {"endpoint": "/e", "backend": list(backends or (backend(),)), **keys}
    return {
        "version": 3,
        "extra_config": {"router": {"return_error_msg": True}},
        "endpoints": [endpoint],
    }


@asynccontextmanager
async def gateway(backends: Backends, configuration: Document) -> AsyncGenerator[ASGIApp]:
    async with open_gateway(configuration, catalog=backends.catalog()) as opened:
        yield opened.asgi


async def ask(
    app: ASGIApp, target: str = "/e", *, method: str = "GET", body: bytes = b"", **headers: str
) -> Reply:
    client = Client([body])
    scope = http_scope(method, target)
    scope["headers"] = [
        (b"host", b"gateway.test"),
        *((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()),
    ]
    await app(scope, client.receive, client.send)
    return client.reply


def refusal(configuration: Document) -> str:
    """The errors of a configuration that does not start; empty when it starts."""
    try:
        load(configuration, CATALOG, {})
    except ConfigError as error:
        return str(error)
    return ""
