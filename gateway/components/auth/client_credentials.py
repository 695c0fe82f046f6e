"""``auth/client-credentials``: requests to a backend carry a token that the gateway gets for itself
(OAuth 2.0, RFC 6749, 4.4).

As in Go's oauth2 the name and the secret of the gateway are sent as a login, or in the body if the
server does not accept that. A token is used until ten seconds before it expires.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode

import msgspec

from ...config.findings import Finding
from ...config.json_types import JsonObject
from ...config.structs import Backend, Endpoint
from ...core.asgi import find_header
from ...core.component import Assembly, Component, Place
from ...core.rule import is_http
from ...core.version import USER_AGENT
from ...errors import BackendFailure, GatewayError
from ...http.connection import HttpResponse
from ...http.request_head import BackendRequest
from ...http.targets import parse_url
from ...http.transport import Arrive, Result, Transport, TransportStage, Withdraw
from ...http.transports import share_client
from .fetch import own_transport
from .settings import ClientCredentialsSettings

NAMESPACE = "auth/client-credentials"

TOKEN_EXPIRY_MARGIN = 10.0
"""Seconds before it expires a token is not used any more (golang.org/x/oauth2, expiryDelta)."""
MAX_TOKEN_LIFETIME = 10 * 365 * 86400.0
RESERVED_FIELDS = frozenset({"scope", "client_id", "client_secret"})
"""Fields of the token request that ``endpoint_params`` cannot set."""
AUTHORIZATION_SCHEMES = {"": b"Bearer", "bearer": b"Bearer", "mac": b"MAC", "basic": b"Basic"}


def build_client_credentials(
    settings: ClientCredentialsSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> TransportStage:
    """Adds the token to the requests of one backend. Backends with equal settings share it."""
    if settings.is_disabled:
        return lambda transport: transport
    client = own_transport(share_client(assembly))
    key = (NAMESPACE, msgspec.json.encode(settings, order="deterministic"))
    tokens = assembly.resource(key, lambda: TokenSource(settings, client))

    def stage(inner: Transport) -> Transport:
        def send(outgoing: BackendRequest, arrive: Arrive) -> Withdraw:
            if token := tokens.token():
                return inner(authorised(outgoing, token), arrive)
            return WaitingForToken(tokens, inner, outgoing, arrive).begin()

        return send

    return stage


def authorised(outgoing: BackendRequest, token: bytes) -> BackendRequest:
    """The request with the gateway's token instead of what the client sent."""
    headers = [header for header in outgoing.headers if header[0] != b"authorization"]
    return outgoing._replace(headers=[*headers, (b"authorization", token)])


class WaitingForToken:
    """A request that waits for the token."""

    __slots__ = ("_arrive", "_inner", "_outgoing", "_tokens", "_withdraw")

    def __init__(
        self, tokens: TokenSource, inner: Transport, outgoing: BackendRequest, arrive: Arrive
    ) -> None:
        self._tokens = tokens
        self._inner = inner
        self._outgoing = outgoing
        self._arrive = arrive
        self._withdraw: Withdraw | None = None

    def begin(self) -> Withdraw:
        self._tokens.wait(self)
        return self.withdraw

    def withdraw(self) -> None:
        if self._withdraw is None:
            self._tokens.cancel_wait(self)
        else:
            self._withdraw()

    def proceed(self, token: bytes | GatewayError) -> None:
        """The token, or the error, has arrived. Never raises."""
        if isinstance(token, GatewayError):
            self._arrive(token)
            return
        try:
            self._withdraw = self._inner(authorised(self._outgoing, token), self._arrive)
        except GatewayError as error:
            self._arrive(error)


class TokenSource:
    """One token, and the requests that wait for it. It is fetched only if a request waits."""

    def __init__(self, settings: ClientCredentialsSettings, client: Transport) -> None:
        self._settings = settings
        self._client = client
        self._is_in_body: bool | None = None
        """Where the server accepts the credentials; None: not known yet."""
        self._token = b""
        self._until = 0.0
        self._waiting: dict[WaitingForToken, None] = {}
        self._withdraw: Withdraw | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """No background work: the first request that needs a token requests it."""
        yield

    def readiness(self) -> JsonObject:
        return {"kind": "token", "client": self._settings.client_id, "ready": True}

    def token(self) -> bytes:
        """The value of ``Authorization``; empty: there is no valid token."""
        return self._token if monotonic() < self._until else b""

    def wait(self, waiting: WaitingForToken) -> None:
        is_first = not self._waiting
        self._waiting[waiting] = None
        if is_first:
            self._request_token(is_in_body=bool(self._is_in_body))

    def cancel_wait(self, waiting: WaitingForToken) -> None:
        """The request does not wait any more. After the last one the token request is withdrawn."""
        if waiting in self._waiting:
            del self._waiting[waiting]
            if not self._waiting and self._withdraw is not None:
                self._withdraw()

    def _request_token(self, *, is_in_body: bool) -> None:
        def arrive(result: Result) -> None:
            self._arrived(result, is_in_body)

        self._withdraw = None
        try:
            self._withdraw = self._client(token_request(self._settings, is_in_body), arrive)
        except GatewayError as error:
            self._distribute(error)

    def _arrived(self, result: Result, is_in_body: bool) -> None:
        try:
            token, seconds = read_token(result)
        except GatewayError as error:
            if self._is_in_body is None and not is_in_body:
                self._request_token(is_in_body=True)
            else:
                self._distribute(error)
            return
        self._is_in_body = is_in_body
        self._token = token
        self._until = monotonic() + seconds - TOKEN_EXPIRY_MARGIN
        self._distribute(token)

    def _distribute(self, token: bytes | GatewayError) -> None:
        waiting, self._waiting = self._waiting, {}
        for each in waiting:
            each.proceed(token)


def token_request(settings: ClientCredentialsSettings, is_in_body: bool) -> BackendRequest:
    """The request for a token."""
    host, target = parse_url(settings.token_url)
    form: dict[str, str | Sequence[str]] = {"grant_type": "client_credentials"}
    if scopes := [scope.strip() for scope in settings.scopes.split(",") if scope.strip()]:
        form["scope"] = " ".join(scopes)
    form.update(settings.endpoint_params)
    headers = [
        (b"content-type", b"application/x-www-form-urlencoded"),
        (b"user-agent", USER_AGENT),
    ]
    if is_in_body:
        form["client_id"], form["client_secret"] = settings.client_id, settings.client_secret
    else:
        login = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret)}"
        headers.append((b"authorization", b"Basic " + b64encode(login.encode())))
    return BackendRequest("POST", host, target, headers, urlencode(form, doseq=True).encode())


def read_token(result: Result) -> tuple[bytes, float]:
    """The value of ``Authorization``, and for how many seconds. Raises GatewayError."""
    if isinstance(result, GatewayError):
        raise result
    if not 200 <= result.status < 300:
        raise BackendFailure(f"cannot get a token: status {result.status}")
    document = _read(result)
    token = document.get("access_token")
    kind = document.get("token_type") or ""
    lifetime = document.get("expires_in") or MAX_TOKEN_LIFETIME
    if not isinstance(token, str) or not token or not isinstance(kind, str):
        raise BackendFailure("cannot get a token: the response has none")
    if not isinstance(lifetime, str | float | int):
        raise BackendFailure("cannot get a token: the response is malformed")
    try:
        seconds = float(lifetime)
        scheme = AUTHORIZATION_SCHEMES.get(kind.lower()) or kind.encode()
        return scheme + b" " + token.encode(), seconds
    except (ValueError, OverflowError) as error:
        raise BackendFailure("cannot get a token: the response is malformed") from error


def _read(response: HttpResponse) -> JsonObject:
    kind = find_header(response.headers, b"content-type").partition(b";")[0].strip()
    if kind in (b"application/x-www-form-urlencoded", b"text/plain"):
        return dict(parse_qsl(response.body.decode("latin-1")))
    try:
        return msgspec.json.decode(response.body, type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise BackendFailure("cannot get a token: the response is not JSON") from error


def verify(settings: ClientCredentialsSettings) -> Iterator[tuple[str, str]]:
    try:
        parse_url(settings.token_url)
    except ValueError as error:
        yield "token_url", str(error)
    for name in RESERVED_FIELDS.intersection(settings.endpoint_params):
        yield "endpoint_params", f'"{name}" is set by the other keys'


def findings(settings: ClientCredentialsSettings, place: Place) -> Iterator[Finding]:
    if place.backend is not None and not is_http(place.backend):
        yield place.warning("has no effect: only requests to HTTP backends carry a token")


COMPONENT = Component(
    NAMESPACE,
    ClientCredentialsSettings,
    aliases=("github.com/devopsfaith/krakend-oauth2-clientcredentials",),
    verify=verify,
    transport=build_client_credentials,
    passes_bodies=True,
    findings=findings,
)
