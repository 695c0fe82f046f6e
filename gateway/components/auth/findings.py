"""Traps of ``auth/``: doors that stand wider open than they look, or are never open. Pure, but that
it reads the key file that the settings name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from ...config.files import exposed
from ...config.findings import Finding
from ...config.structs import Endpoint, Service
from ...core.component import Place
from ...tls.openssl import is_suite_of_newest, suite_name
from .claims import needed_claims
from .jose import KINDS, shortest_secret
from .keys import KEY_IDS, Keys
from .settings import (
    VALIDATOR,
    WITHOUT_CACHE,
    KeySettings,
    SignerSettings,
    ValidatorSettings,
)
from .sources import find_sources
from .verify import read_key_file

Traps = Iterator[tuple[str, str]]
"""A key of the settings, and what is wrong with it."""


def validator_findings(settings: ValidatorSettings, place: Place) -> Iterator[Finding]:
    if place.endpoint is None:
        return
    sources = [*find_sources(settings, place.service)]
    traps = (_keys(settings, sources), _door(settings), _propagation(settings, place.endpoint))
    yield from place.warnings(chain.from_iterable(traps))


def without_token(service: Service) -> Iterator[Finding]:
    """Claims that are asked for where no token is."""
    for place, endpoint in enumerate(service.endpoints):
        if VALIDATOR not in endpoint.extra_config:
            for name in needed_claims(endpoint):
                text = f"{{JWT.{name}}} has no value: no token is asked for ({VALIDATOR})"
                yield Finding(f"$.endpoints[{place}].backend", "warning", text)


def signer_findings(settings: SignerSettings, place: Place) -> Iterator[Finding]:
    signing = _signing(settings, place.endpoint) if place.endpoint is not None else ()
    yield from place.warnings((*_keys(settings, [settings]), *signing))


def _keys(settings: KeySettings, sources: Sequence[KeySettings]) -> Traps:
    """Where keys come from. ``sources``: what counts of that, one in each."""
    if settings.is_insecure:
        text = 'neither "https://" nor "disable_jwk_security": true, which files need as well'
        yield "jwk_url", f"{text}: every request gets 401, as in KrakenD"
    elif any(each.urls and each.disable_jwk_security for each in sources):
        yield (
            "disable_jwk_security",
            "whoever can change what the key server answers can make tokens",
        )
    has_url = any(each.urls for each in sources)
    if settings.jwk_local_path and settings.jwk_url:
        yield "jwk_url", "beside jwk_local_path it has no effect"
    for number in settings.cipher_suites:
        if not (suite_name(number) or is_suite_of_newest(number)):
            yield "cipher_suites", f"unknown {number}, left out"
    if settings.jwk_local_path:
        yield from _key_file(settings)
    if has_url and settings.alg.startswith("HS"):
        yield "alg", "whoever can read the URL of a shared secret can make tokens"


def _key_file(settings: KeySettings) -> Traps:
    try:
        jwks = read_key_file(settings.jwk_local_path)
    except ValueError:  # the start says so
        return
    fitting = [jwk for jwk in jwks if jwk.get("kty") == KINDS.get(settings.alg[:2])]
    if not fitting:
        yield "jwk_local_path", f"no key in it serves {settings.alg}"
    if isinstance(settings, ValidatorSettings):
        for text in Keys(fitting, settings.alg, settings.key_identify_strategy).private:
            yield "jwk_local_path", text
    has_secrets = any("d" in jwk or jwk.get("kty") == "oct" for jwk in jwks)
    if has_secrets and (text := exposed(settings.jwk_local_path)):
        yield "jwk_local_path", text
    shortest = shortest_secret(settings.alg)
    for jwk in fitting:
        if shortest and len(str(jwk.get("k", ""))) * 3 // 4 < shortest:
            yield "jwk_local_path", f"a secret of less than {shortest} bytes can be guessed"


def _door(settings: ValidatorSettings) -> Traps:
    if not settings.require_exp:
        yield (
            "require_exp",
            'not set: a token without "exp" is accepted for ever, as in KrakenD',
        )
    if not settings.audience:
        yield "audience", "none: tokens that were made for other services are accepted"
    if settings.scopes and not settings.scopes_key:
        yield "scopes_key", "none: scopes are not looked at"
    if settings.scopes_matcher not in ("any", "all"):
        yield "scopes_matcher", f'unknown "{settings.scopes_matcher}", "any" is used'
    if settings.key_identify_strategy not in KEY_IDS:
        known = ", ".join(KEY_IDS)
        yield "key_identify_strategy", f'unknown, "kid" is used; there are: {known}'
    if settings.urls and not settings.cache:
        text = f"not set: keys are fetched every {WITHOUT_CACHE:g} s (KrakenD: for each request)"
        yield "cache", text


def _signing(settings: SignerSettings, endpoint: Endpoint) -> Traps:
    if not settings.keys_to_sign:
        yield "keys_to_sign", "nothing is signed"
    elif endpoint.output_encoding == "no-op":
        yield "keys_to_sign", "nothing is signed: with no-op nobody looks into the answer"
    if settings.jwk_local_path and not settings.is_insecure:
        try:
            jwks = read_key_file(settings.jwk_local_path)
        except ValueError:  # the start says so
            return
        if not any(jwk.get("kid") == settings.kid for jwk in jwks):
            yield "kid", f'no key "{settings.kid}" in the file: every request gets 401'


def _propagation(settings: ValidatorSettings, endpoint: Endpoint) -> Traps:
    listed = {name.lower() for name in endpoint.input_headers}
    for place, pair in enumerate(settings.propagate_claims):
        key = f"propagate_claims[{place}]"
        if len(pair) != 2:
            yield key, "expected a claim and a header: ignored"
        elif pair[1].lower() not in listed and "*" not in listed:
            yield key, f'no backend gets "{pair[1]}": input_headers does not list it'
