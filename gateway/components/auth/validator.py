"""``auth/validator``: only requests with a valid token pass.

A guard, called before the body is read. 401: no valid token; 403: a valid token without the roles
or scopes of the endpoint. The rules are those of krakend-jose.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from time import time
from typing import NamedTuple

from anyio import CancelScope, Event

from ...config.json_types import JsonObject
from ...config.structs import Endpoint, Service
from ...core.component import Assembly, Component, TokenCheck
from ...core.proxy import Guard, Request
from ...core.tasks import open_tasks
from ...errors import GatewayError, Refused
from ...telemetry.logs import get_logger
from .advice import ON_VALIDATORS
from .claims import (
    build_claims_match,
    check_registered,
    claim_text,
    claim_texts,
    needed_claims,
    read_claims,
)
from .credentials import build_find_token
from .deny_list import DenyList
from .fetch import share_source
from .findings import validator_findings, without_token
from .jose import InvalidToken, JsonWebToken, parse_token
from .key_source import MIN_REFRESH_PAUSE, KeySource
from .keyring import Keyring
from .revoker import share_deny_list
from .settings import UNCACHED_KEYS_LIFETIME, VALIDATOR, ValidatorSettings
from .sources import find_sources
from .verify import verify_validator

log = get_logger("gateway.auth")


MAX_REMEMBERED_TOKENS = 1000
"""Verified tokens of one endpoint that are not verified again; the oldest one is forgotten."""
MAX_REMEMBERED_TOKEN_BYTES = 8192

CACHED_KEYS_LIFETIME = 900.0
"""Seconds for which keys are used with ``cache``, as in KrakenD."""


Headers = tuple[tuple[bytes, bytes], ...]


def build_validator(settings: ValidatorSettings, endpoint: Endpoint, assembly: Assembly) -> Guard:
    """The guard of one endpoint."""
    if settings.is_insecure:
        log.warning("%s: the keys cannot be trusted: every request gets 401", endpoint.endpoint)
        return _refuse
    cooldown = settings.failed_jwk_key_cooldown or MIN_REFRESH_PAUSE
    duration = cache_time(settings, assembly.service)
    sources = [
        share_source(each, assembly, duration, cooldown)
        for each in find_sources(settings, assembly.service)
    ]
    checks = assembly.token_checks(endpoint)
    return Validator(settings, endpoint, sources, share_deny_list(assembly), checks).guard


def _refuse(request: Request) -> None:
    raise Refused(401)


def cache_time(settings: ValidatorSettings, service: Service) -> float:
    """Seconds after which keys are fetched again."""
    if not settings.cache:
        return UNCACHED_KEYS_LIFETIME
    shared: ValidatorSettings | None = service.extra_config.get(VALIDATOR)
    return (
        settings.cache_duration or (shared and shared.shared_cache_duration) or CACHED_KEYS_LIFETIME
    )


class VerifiedToken(NamedTuple):
    """A token with a valid signature. ``until``: when it expires, in seconds since 1970.

    ``refusal``: why it is not sufficient, else empty. ``headers`` and ``params``: what it adds to a
    request.
    """

    until: float
    claims: JsonObject
    refusal: str
    headers: Headers
    params: dict[str, str]


class Validator:
    """Admits the requests of one endpoint."""

    def __init__(
        self,
        settings: ValidatorSettings,
        endpoint: Endpoint,
        sources: Sequence[KeySource],
        revocations: DenyList | None = None,
        token_checks: Sequence[TokenCheck] = (),
    ) -> None:
        self._settings = settings
        self._path = endpoint.endpoint
        self._keyring = Keyring(
            sources, settings.alg, settings.key_identify_strategy, endpoint.endpoint
        )
        self._revocations = revocations
        self._token_checks = token_checks
        self._find_token = build_find_token(settings.auth_header_name, settings.cookie_key)
        self._has_roles = build_claims_match(
            settings.roles_key or "roles", settings.roles, is_nested=settings.roles_key_is_nested
        )
        self._has_scopes = build_claims_match(
            settings.scopes_key,
            settings.scopes,
            is_nested=True,
            needs_all=settings.scopes_matcher == "all",
        )
        self._propagated = [pair for pair in settings.propagate_claims if len(pair) == 2]
        self._replaced = frozenset(name.lower().encode() for _, name in self._propagated)
        self._needed = needed_claims(endpoint)
        self._remembered: dict[bytes, VerifiedToken] = {}

    def guard(self, request: Request) -> Awaitable[None] | None:
        """Admit or refuse; the awaitable waits for keys that are fetched."""
        text = self._find_token(request)
        if text is None:
            raise self._refused(401, "no token")
        self._renew_keys()
        verified = self._remembered.get(text)
        if verified is None:
            try:
                token = self._parse(text)
                if not self._keyring.find(token) and (fetched := self._keyring.request_refresh()):
                    return self._admit_after_refresh(request, text, token, fetched)
                verified = self._verify(text, token)
            except InvalidToken as error:
                raise self._refused(401, str(error)) from error
        self._admit(request, verified)
        return None

    async def _admit_after_refresh(
        self, request: Request, text: bytes, token: JsonWebToken, fetched: Sequence[Event]
    ) -> None:
        with CancelScope(deadline=request.deadline):
            async with open_tasks() as waiting:
                for event in fetched:
                    waiting.start_soon(self._wait, event, token, waiting.cancel_scope)
        self._renew_keys()
        try:
            verified = self._verify(text, token)
        except InvalidToken as error:
            raise self._refused(401, str(error)) from error
        self._admit(request, verified)

    async def _wait(self, fetched: Event, token: JsonWebToken, others: CancelScope) -> None:
        """The first source that brings the key ends the waiting for all sources."""
        await fetched.wait()
        self._renew_keys()
        if self._keyring.find(token):
            others.cancel()

    def _renew_keys(self) -> None:
        """Remembered tokens are forgotten with the keys that verified them."""
        if self._keyring.reload():
            self._remembered.clear()

    def _parse(self, text: bytes) -> JsonWebToken:
        token = parse_token(text)
        if token.header.alg != self._settings.alg:
            raise InvalidToken("the algorithm is not the configured one")
        return token

    def _verify(self, text: bytes, token: JsonWebToken) -> VerifiedToken:
        keys = self._keyring.find(token)
        if not keys:
            raise InvalidToken("the key is unknown")
        if not any(key.verifies(token) for key in keys):
            raise InvalidToken("the signature is wrong")
        verified = self._check_claims(token.payload)
        if len(text) <= MAX_REMEMBERED_TOKEN_BYTES:
            if len(self._remembered) >= MAX_REMEMBERED_TOKENS:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[text] = verified
        return verified

    def _check_claims(self, payload: bytes) -> VerifiedToken:
        """Raises InvalidToken."""
        settings = self._settings
        registered, claims = read_claims(payload)
        if settings.require_exp and registered.exp is None:
            raise InvalidToken("the token has no exp")
        until = check_registered(
            registered, settings.issuer, settings.audience, settings.leeway, time()
        )
        refusal = ""
        if self._has_roles is not None and not self._has_roles(claims):
            refusal = "the token has none of the required roles"
        elif self._has_scopes is not None and not self._has_scopes(claims):
            refusal = "the token does not have the required scopes"
        texts = ((name, claim_text(claims, name)) for name in self._needed)
        params = {f"JWT.{name}": text for name, text in texts if text is not None}
        return VerifiedToken(until, claims, refusal, self._headers(claims), params)

    def _headers(self, claims: JsonObject) -> Headers:
        preserves_arrays = self._settings.propagate_claims_preserve_array
        headers: list[tuple[bytes, bytes]] = []
        for claim, name in self._propagated:
            texts = [claim_text(claims, claim) or ""]
            if preserves_arrays:
                texts = claim_texts(claims, claim)
            headers += [(name.lower().encode(), text.encode()) for text in texts]
        return tuple(headers)

    def _admit(self, request: Request, verified: VerifiedToken) -> None:
        if verified.until < time():
            raise self._refused(401, "expired")
        if self._revocations is not None and self._revocations.is_revoked(verified.claims):
            raise self._refused(401, "revoked")
        for check in self._token_checks:  # before roles and scopes, as in KrakenD
            try:
                check(verified.claims)
            except GatewayError as error:
                raise self._refused(401, str(error)) from error
        if verified.refusal:
            raise self._refused(403, verified.refusal)
        request.claims = verified.claims
        if self._replaced:
            kept = [header for header in request.headers if header[0] not in self._replaced]
            request.headers = [*kept, *verified.headers]
        if verified.params:
            request.params.update(verified.params)

    def _refused(self, status: int, reason: str) -> Refused:
        if self._settings.operation_debug:
            log.error("%s: %d: %s", self._path, status, reason)
        return Refused(status, reason)


COMPONENT = Component(
    VALIDATOR,
    ValidatorSettings,
    aliases=("github.com/devopsfaith/krakend-jose/validator",),
    verify=verify_validator,
    guard=build_validator,
    service=True,
    root_keys=frozenset({"shared_cache_duration"}),
    findings=validator_findings,
    advice=ON_VALIDATORS,
    overall=without_token,
)
