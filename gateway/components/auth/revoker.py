"""``auth/revoker``: tokens that are still good and no longer wanted, and the management port's
interface to say so.

``POST /__revoker/add`` and ``/__revoker/check``, both with claims: ``{"jti": "abc"}``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping
from hmac import compare_digest
from typing import Any

import msgspec

from ...config.findings import Finding
from ...config.structs import GatewaySettings, Service
from ...core.asgi import ASGIApp, AsgiResponse, Receive, Scope, Send, send_answer
from ...core.component import Assembly, Component, Place
from ...errors import GatewayError
from ...router.builtin import as_json
from ...router.request import BodyError, read_body, refuse_body
from .deny_list import DenyList, Full, open_database
from .settings import RevokerSettings

NAMESPACE = "auth/revoker"

MAX_BYTES = 64 * 1024
BODY_TIME = 10.0
"""Seconds for a request's body."""


def share_deny_list(assembly: Assembly) -> DenyList | None:
    """The revocations of the gateway; None when nothing can be revoked."""
    settings: RevokerSettings | None = assembly.service.extra_config.get(NAMESPACE)
    if settings is None:
        return None
    if assembly.workers > 1 and not settings.file:
        text = f'{NAMESPACE}: several workers need a "file", or each has revocations of its own'
        raise GatewayError(text)
    return assembly.resource(
        NAMESPACE,
        lambda: DenyList(settings.token_keys, settings.TTL, settings.N, settings.file),
    )


def build_revoker(
    settings: RevokerSettings, service: Service, assembly: Assembly
) -> Mapping[str, ASGIApp]:
    """The applications of the management port, by path."""
    revoked = share_deny_list(assembly)
    if revoked is None:
        return {}
    key = settings.revoke_server_api_key

    async def add(claims: dict[str, Any]) -> dict[str, Any]:
        return {"revoked": await revoked.add(claims)}

    async def check(claims: dict[str, Any]) -> dict[str, Any]:
        return {"revoked": revoked.is_revoked(claims)}

    return {
        "/__revoker/add": _build_app(add, revoked.names, key),
        "/__revoker/check": _build_app(check, revoked.names, key),
    }


def _build_app(
    answer: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]], names: tuple[str, ...], key: str
) -> ASGIApp:
    expected = b"bearer " + key.encode()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await send_answer(send, _problem(405, "POST is what is understood here"))
            return
        if b"origin" in dict(scope["headers"]):  # any page that an operator opens could ask
            await send_answer(send, _problem(403, "not for browsers: a request with an Origin"))
            return
        if key and not _shows(scope, expected):
            await send_answer(send, _problem(401, "the key is missing"))
            return
        try:
            claims = _read(await read_body(scope, receive, MAX_BYTES, BODY_TIME), names)
            await send_answer(send, as_json(200, await answer(claims)))
        except BodyError as error:
            await refuse_body(scope, send, error)
        except Full as error:
            await send_answer(send, _problem(503, str(error)))
        except sqlite3.Error as error:
            await send_answer(send, _problem(503, f"the revocation cannot be stored: {error}"))
        except ValueError as error:
            await send_answer(send, _problem(400, str(error)))

    return app


def _shows(scope: Scope, expected: bytes) -> bool:
    shown = dict(scope["headers"]).get(b"authorization", b"")
    return compare_digest(shown[:7].lower() + shown[7:], expected)


def _read(body: bytes, names: tuple[str, ...]) -> dict[str, Any]:
    """Claims, each of which is watched. Raises ValueError."""
    try:
        claims = msgspec.json.decode(body, type=dict[str, str])
    except (ValueError, RecursionError) as error:
        raise ValueError("expected claims and their values, all of them texts") from error
    if not claims or not names or any(name not in names for name in claims):
        raise ValueError(f"expected some of these claims: {', '.join(names)}")
    return claims


def _problem(status: int, text: str) -> AsgiResponse:
    return as_json(status, {"error": text})


def verify(settings: RevokerSettings) -> Iterator[tuple[str, str]]:
    if settings.TTL <= 0:
        yield "TTL", "expected the seconds for which a revocation holds"
    if settings.file:
        try:
            open_database(settings.file).close()
        except (OSError, sqlite3.Error) as error:
            yield "file", f"{settings.file} cannot be used: {_reason(error)}"


def _reason(error: OSError | sqlite3.Error) -> str:
    if isinstance(error, OSError):
        return str(error.strerror)
    if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
        return "it is not an SQLite database. Move the file away, and revoke its tokens again"
    return str(error)


def findings(settings: RevokerSettings, place: Place) -> Iterator[Finding]:
    yield from place.warnings(_revoking(settings, place.service.gateway))


def _revoking(settings: RevokerSettings, gateway: GatewaySettings) -> Iterator[tuple[str, str]]:
    if not settings.token_keys:
        yield "token_keys", "none: nothing can be revoked"
    if gateway.management_port is None:
        yield (
            "port",
            "not used: POST /__revoker/add is on gateway.management_port, and there is none",
        )
    elif not settings.revoke_server_api_key:
        text = "none: any client that reaches the management port can revoke tokens"
        yield "revoke_server_api_key", text
    if settings.revoke_server_ping_url:
        yield (
            "revoke_server_ping_url",
            "KrakenD's revoke server is not used: revocations are pushed to this gateway",
        )
    if not settings.file:
        yield "file", "none: a restart forgets what was revoked, as in KrakenD"


COMPONENT = Component(
    NAMESPACE,
    RevokerSettings,
    aliases=("github_com/devopsfaith/bloomfilter",),
    verify=verify,
    management=build_revoker,
    findings=findings,
)
