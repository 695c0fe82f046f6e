"""The built-in endpoints: health, readiness, debug, echo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeAlias
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from ..config.go_names import canonical_header
from ..config.structs import GatewaySettings
from ..core.asgi import AsgiResponse, Handler, Receive, Scope, Send, send_answer
from ..encoding import encode_json
from .request import BodyError, read_body, refuse_body

Respond: TypeAlias = Callable[[], AsgiResponse]
"""Makes a response that does not depend on the request. Never waits."""

JSON = (b"content-type", b"application/json; charset=utf-8")
MAX_SHOWN_BYTES = 512 * 1024
"""Bytes of a body that an echo shows: 15 ms at most. Measured at worst: 16 ns a byte."""


def as_json(status: int, document: object) -> AsgiResponse:
    return AsgiResponse(status, (JSON,), encode_json(document))


def build_constant(answer: AsgiResponse) -> Handler:
    """A handler with the same response for every request."""
    return build_handler(lambda: answer)


def build_handler(respond: Respond) -> Handler:
    """A handler whose responses do not depend on the request."""

    async def handler(scope: Scope, receive: Receive, send: Send, params: dict[str, str]) -> None:
        await send_answer(send, respond())

    return handler


def build_health(agents: Callable[[], Mapping[str, object]]) -> Respond:
    """KrakenD's ``/__health``: 200 while the process runs, whatever the brokers do."""

    def health() -> AsgiResponse:
        now = datetime.now().astimezone().isoformat(sep=" ")
        return as_json(200, {"status": "ok", "agents": agents(), "now": now})

    return health


def build_ready(readiness: Callable[[], Mapping[str, object]]) -> Respond:
    """``/__ready``, an extension: 200 if every connection, consumer and publisher is ready; else
    503, and which are not."""

    def ready() -> AsgiResponse:
        document = readiness()
        return as_json(200 if document["ready"] else 503, document)

    return ready


debug = build_constant(as_json(200, {"message": "pong"}))
"""KrakenD's ``/__debug/``."""


def build_echo(settings: GatewaySettings) -> Handler:
    """KrakenD's ``/__echo/``: the request as the gateway received it."""

    async def echo(scope: Scope, receive: Receive, send: Send, params: dict[str, str]) -> None:
        try:
            body = await read_body(scope, receive, settings.max_body_bytes, settings.body_timeout)
        except BodyError as error:
            await refuse_body(scope, send, error)
        else:
            await send_answer(send, as_json(200, _describe(scope, body)))

    return echo


def _describe(scope: Scope, body: bytes) -> dict[str, object]:
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(canonical_header(name.decode("latin-1")), []).append(
            value.decode("latin-1")
        )
    query = scope["query_string"].decode("latin-1")
    values = parse_qs(query, keep_blank_values=True)
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    return {
        "req_uri": f"{path}?{query}" if query else path,
        "req_uri_details": {
            "user": "",
            "host": headers.pop("Host", [""])[0],
            "path": unquote(urlsplit(path).path),
            "query": urlencode(sorted(values.items()), doseq=True),
            "fragment": "",
        },
        "req_method": scope["method"],
        "req_querystring": values,
        "req_body": body[:MAX_SHOWN_BYTES].decode(errors="replace"),
        "req_headers": headers,
    }
