"""``auth/validator``: no request passes without a token that holds.

A guard: it is asked before the body is read. 401: no token, or none that can be believed; 403: a
good one that does not suffice. The rules are krakend-jose's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from time import time
from typing import Any, NamedTuple

from anyio import CancelScope, Event

from ...config.structs import Endpoint, Service
from ...core.component import Assembly, Component, TokenCheck
from ...core.proxy import Guard, Request
from ...core.tasks import open_tasks
from ...errors import GatewayError, Refused
from ...telemetry.logs import get_logger
from .advice import ON_VALIDATORS
from .claims import (
    build_admits,
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
from .jose import BadToken, JsonWebToken, parse_token
from .key_source import MIN_PAUSE, KeySource
from .keyring import Keyring
from .revoker import share_deny_list
from .settings import VALIDATOR, WITHOUT_CACHE, ValidatorSettings
from .sources import find_sources
from .verify import verify_validator

log = get_logger("gateway.auth")


REMEMBERED = 1000
"""Verified tokens of one endpoint that are known again by their text; the oldest goes."""
MAX_REMEMBERED_BYTES = 8192

CACHE_TIME = 900.0
"""Seconds for which keys are kept with ``cache``; as in KrakenD."""


Headers = tuple[tuple[bytes, bytes], ...]


def build_validator(settings: ValidatorSettings, endpoint: Endpoint, assembly: Assembly) -> Guard:
    """The guard of one endpoint."""
    if settings.is_insecure:
        log.warning("%s: its keys cannot be trusted: every request gets 401", endpoint.endpoint)
        return _refuse
    cooldown = settings.failed_jwk_key_cooldown or MIN_PAUSE
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
    """Seconds after which keys are fetched anew."""
    if not settings.cache:
        return WITHOUT_CACHE
    shared: ValidatorSettings | None = service.extra_config.get(VALIDATOR)
    return settings.cache_duration or (shared and shared.shared_cache_duration) or CACHE_TIME


class Verified(NamedTuple):
    """What there is to know of a token whose signature is good. ``until``: seconds since 1970.

    ``refusal``: why it does not suffice, else empty. ``headers`` and ``params``: what it adds to
    a request.
    """

    until: float
    claims: dict[str, Any]
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
        self._admits_roles = build_admits(
            settings.roles_key or "roles", settings.roles, is_nested=settings.roles_key_is_nested
        )
        self._admits_scopes = build_admits(
            settings.scopes_key,
            settings.scopes,
            is_nested=True,
            needs_all=settings.scopes_matcher == "all",
        )
        self._propagated = [pair for pair in settings.propagate_claims if len(pair) == 2]
        self._replaced = frozenset(name.lower().encode() for _, name in self._propagated)
        self._needed = needed_claims(endpoint)
        self._remembered: dict[bytes, Verified] = {}

    def guard(self, request: Request) -> Awaitable[None] | None:
        """Admit or refuse; what is returned waits for keys that are fetched."""
        text = self._find_token(request)
        if text is None:
            raise self._refused(401, "no token")
        self._renew_keys()
        verified = self._remembered.get(text)
        if verified is None:
            try:
                token = self._parse(text)
                if not self._keyring.find(token) and (looks := self._keyring.refreshed()):
                    return self._admit_later(request, text, token, looks)
                verified = self._verify(text, token)
            except BadToken as error:
                raise self._refused(401, str(error)) from error
        self._admit(request, verified)
        return None

    async def _admit_later(
        self, request: Request, text: bytes, token: JsonWebToken, looks: Sequence[Event]
    ) -> None:
        with CancelScope(deadline=request.deadline):
            async with open_tasks() as waiting:
                for look in looks:
                    waiting.start_soon(self._wait, look, token, waiting.cancel_scope)
        self._renew_keys()
        try:
            verified = self._verify(text, token)
        except BadToken as error:
            raise self._refused(401, str(error)) from error
        self._admit(request, verified)

    async def _wait(self, look: Event, token: JsonWebToken, others: CancelScope) -> None:
        """Whoever brings the key ends the waiting for all."""
        await look.wait()
        self._renew_keys()
        if self._keyring.find(token):
            others.cancel()

    def _renew_keys(self) -> None:
        """No token outlives the keys that it was verified with."""
        if self._keyring.is_renewed():
            self._remembered.clear()

    def _parse(self, text: bytes) -> JsonWebToken:
        token = parse_token(text)
        if token.header.alg != self._settings.alg:
            raise BadToken("another algorithm")
        return token

    def _verify(self, text: bytes, token: JsonWebToken) -> Verified:
        keys = self._keyring.find(token)
        if not keys:
            raise BadToken("an unknown key")
        if not any(key.verifies(token) for key in keys):
            raise BadToken("a wrong signature")
        verified = self._judge(token.payload)
        if len(text) <= MAX_REMEMBERED_BYTES:
            if len(self._remembered) >= REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[text] = verified
        return verified

    def _judge(self, payload: bytes) -> Verified:
        """What follows from the claims. Raises BadToken."""
        settings = self._settings
        registered, claims = read_claims(payload)
        if settings.require_exp and registered.exp is None:
            raise BadToken("it never expires")
        until = check_registered(
            registered, settings.issuer, settings.audience, settings.leeway, time()
        )
        refusal = ""
        if self._admits_roles is not None and not self._admits_roles(claims):
            refusal = "none of the roles"
        elif self._admits_scopes is not None and not self._admits_scopes(claims):
            refusal = "not the scopes"
        texts = ((name, claim_text(claims, name)) for name in self._needed)
        params = {f"JWT.{name}": text for name, text in texts if text is not None}
        return Verified(until, claims, refusal, self._headers(claims), params)

    def _headers(self, claims: dict[str, Any]) -> Headers:
        preserves_arrays = self._settings.propagate_claims_preserve_array
        headers: list[tuple[bytes, bytes]] = []
        for claim, name in self._propagated:
            texts = [claim_text(claims, claim) or ""]
            if preserves_arrays:
                texts = claim_texts(claims, claim)
            headers += [(name.lower().encode(), text.encode()) for text in texts]
        return tuple(headers)

    def _admit(self, request: Request, verified: Verified) -> None:
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
