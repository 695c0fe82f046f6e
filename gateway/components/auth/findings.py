"""What ``check`` reports about tokens: checks that are weak, or that refuse every request. It reads
the key file of the settings.
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
from .jose import KEY_TYPES, min_secret_bytes
from .keys import KEY_IDS, Keys
from .settings import (
    UNCACHED_KEYS_LIFETIME,
    VALIDATOR,
    KeySettings,
    SignerSettings,
    ValidatorSettings,
)
from .sources import find_sources
from .verify import read_key_file

SettingFindings = Iterator[tuple[str, str]]
"""A key of the settings, and the warning about it."""


def validator_findings(settings: ValidatorSettings, place: Place) -> Iterator[Finding]:
    if place.endpoint is None:
        return
    sources = [*find_sources(settings, place.service)]
    traps = (
        _key_findings(settings, sources),
        _validation_findings(settings),
        _propagation_findings(settings, place.endpoint),
    )
    yield from place.warnings(chain.from_iterable(traps))


def without_token(service: Service) -> Iterator[Finding]:
    """Claims that an endpoint without tokens uses."""
    for place, endpoint in enumerate(service.endpoints):
        if VALIDATOR not in endpoint.extra_config:
            for name in needed_claims(endpoint):
                text = f"{{JWT.{name}}} has no value: the endpoint has no {VALIDATOR}"
                yield Finding(f"$.endpoints[{place}].backend", "warning", text)


def signer_findings(settings: SignerSettings, place: Place) -> Iterator[Finding]:
    signing = _signing_findings(settings, place.endpoint) if place.endpoint is not None else ()
    yield from place.warnings((*_key_findings(settings, [settings]), *signing))


def _key_findings(settings: KeySettings, sources: Sequence[KeySettings]) -> SettingFindings:
    """Warnings about the keys. ``sources``: the sources that are used, one in each settings."""
    if settings.is_insecure:
        text = 'needs "https://" or "disable_jwk_security": true (a key file needs it too)'
        yield "jwk_url", f"{text}: every request gets 401, as in KrakenD"
    elif any(each.urls and each.disable_jwk_security for each in sources):
        yield (
            "disable_jwk_security",
            "the key server is not verified: an attacker on the way can replace the keys",
        )
    has_url = any(each.urls for each in sources)
    if settings.jwk_local_path and settings.jwk_url:
        yield "jwk_url", "has no effect together with jwk_local_path"
    for number in settings.cipher_suites:
        if not (suite_name(number) or is_suite_of_newest(number)):
            yield "cipher_suites", f"unknown {number}, ignored"
    if settings.jwk_local_path:
        yield from _key_file_findings(settings)
    if has_url and settings.alg.startswith("HS"):
        yield "alg", "the URL serves a shared secret: every reader of it can make tokens"


def _key_file_findings(settings: KeySettings) -> SettingFindings:
    try:
        jwks = read_key_file(settings.jwk_local_path)
    except ValueError:  # reported by verify
        return
    matching = [jwk for jwk in jwks if jwk.get("kty") == KEY_TYPES.get(settings.alg[:2])]
    if not matching:
        yield "jwk_local_path", f"contains no key for {settings.alg}"
    if isinstance(settings, ValidatorSettings):
        for text in Keys(matching, settings.alg, settings.key_identify_strategy).private:
            yield "jwk_local_path", text
    has_secrets = any("d" in jwk or jwk.get("kty") == "oct" for jwk in jwks)
    if has_secrets and (text := exposed(settings.jwk_local_path)):
        yield "jwk_local_path", text
    shortest = min_secret_bytes(settings.alg)
    for jwk in matching:
        if shortest and len(str(jwk.get("k", ""))) * 3 // 4 < shortest:
            yield "jwk_local_path", f"a secret of less than {shortest} bytes can be guessed"


def _validation_findings(settings: ValidatorSettings) -> SettingFindings:
    if not settings.require_exp:
        yield (
            "require_exp",
            'not set: a token without "exp" is valid forever, as in KrakenD',
        )
    if not settings.audience:
        yield "audience", "not set: tokens for other services are accepted"
    if settings.scopes and not settings.scopes_key:
        yield "scopes_key", "not set: scopes are not checked"
    if settings.scopes_matcher not in ("any", "all"):
        yield "scopes_matcher", f'unknown "{settings.scopes_matcher}", "any" is used'
    if settings.key_identify_strategy not in KEY_IDS:
        known = ", ".join(KEY_IDS)
        yield "key_identify_strategy", f'unknown, "kid" is used; there are: {known}'
    if settings.urls and not settings.cache:
        text = f"not set: a fetch every {UNCACHED_KEYS_LIFETIME:g} s (KrakenD: for each request)"
        yield "cache", text


def _signing_findings(settings: SignerSettings, endpoint: Endpoint) -> SettingFindings:
    if not settings.keys_to_sign:
        yield "keys_to_sign", "not set: nothing is signed"
    elif endpoint.output_encoding == "no-op":
        yield "keys_to_sign", "nothing is signed: with no-op the response is not decoded"
    if settings.jwk_local_path and not settings.is_insecure:
        try:
            jwks = read_key_file(settings.jwk_local_path)
        except ValueError:  # reported by verify
            return
        if not any(jwk.get("kid") == settings.kid for jwk in jwks):
            yield "kid", f'there is no key "{settings.kid}" in the file: every request gets 401'


def _propagation_findings(settings: ValidatorSettings, endpoint: Endpoint) -> SettingFindings:
    listed = {name.lower() for name in endpoint.input_headers}
    for place, pair in enumerate(settings.propagate_claims):
        key = f"propagate_claims[{place}]"
        if len(pair) != 2:
            yield key, "expected a claim and a header: ignored"
        elif pair[1].lower() not in listed and "*" not in listed:
            yield key, f'backends do not get "{pair[1]}": input_headers does not list it'
