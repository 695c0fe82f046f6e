"""Traps of ``auth/``: doors that stand wider open than they look, or are never open. Pure, but that
it reads the key file that the settings name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from ...components.auth.api_keys import NAMESPACE as API_KEYS
from ...components.auth.basic import NAMESPACE as BASIC
from ...components.auth.client_credentials import NAMESPACE as CREDENTIALS
from ...components.auth.fetch import CIPHERS, TLS13
from ...components.auth.jose import KINDS, shortest_secret
from ...components.auth.keys import KEY_IDS, Keys
from ...components.auth.revoker import NAMESPACE as REVOKER
from ...components.auth.settings import (
    REVOKER_OURS,
    VALIDATOR_OURS,
    ApiKeysSettings,
    BasicSettings,
    KeySettings,
    RevokerSettings,
    SignerSettings,
    ValidatorSettings,
)
from ...components.auth.signer import NAMESPACE as SIGNER
from ...components.auth.sources import PLUGINS, PluginSettings, find_sources
from ...components.auth.validator import NAMESPACE as VALIDATOR
from ...components.auth.validator import WITHOUT_CACHE, needed_claims
from ...components.auth.verify import read_key_file
from ...config.absent import AGGREGATOR
from ...config.files import exposed
from ...config.findings import Finding
from ...config.structs import Endpoint, GatewaySettings, Service
from .settings import changed

BROKERS = frozenset({"backend/amqp/consumer", "backend/amqp/producer"})

Remarks = Iterator[tuple[str, str]]


def check_auth(endpoint: Endpoint, path: str, service: Service) -> Iterator[Finding]:
    """Remarks on one endpoint; ``path``: of the endpoint."""
    yield from _check_validator(endpoint, path, service)
    if (signer := endpoint.extra_config.get(SIGNER)) is not None:
        where = f'{path}.extra_config["{SIGNER}"]'
        for key, text in (*check_keys(signer, [signer]), *_signing(signer, endpoint)):
            yield Finding(f"{where}.{key}", "warning", text)
    for number, backend in enumerate(endpoint.backend):
        if CREDENTIALS in backend.extra_config and not BROKERS.isdisjoint(backend.extra_config):
            where = f'{path}.backend[{number}].extra_config["{CREDENTIALS}"]'
            yield Finding(where, "warning", "has no meaning for a broker, ignored")


def _check_validator(endpoint: Endpoint, path: str, service: Service) -> Iterator[Finding]:
    settings: ValidatorSettings | None = endpoint.extra_config.get(VALIDATOR)
    if settings is None:
        for name in needed_claims(endpoint):
            text = f"{{JWT.{name}}} has no value: no token is asked for ({VALIDATOR})"
            yield Finding(f"{path}.backend", "warning", text)
        return
    where = f'{path}.extra_config["{VALIDATOR}"]'
    sources = [*find_sources(settings, service)]
    remarks = (check_keys(settings, sources), _door(settings), _propagation(settings, endpoint))
    for key, text in chain.from_iterable(remarks):
        yield Finding(f"{where}.{key}", "warning", text)
    if used := sorted(VALIDATOR_OURS & changed(settings)):
        yield Finding(where, "hint", f"only this gateway knows: {', '.join(used)}")


def check_revoker(service: Service) -> Iterator[Finding]:
    """Remarks on the revocation of tokens."""
    settings: RevokerSettings | None = service.extra_config.get(REVOKER)
    if settings is None:
        return
    where = f'$.extra_config["{REVOKER}"]'
    gateway: GatewaySettings = service.extra_config.get("gateway") or GatewaySettings()
    for key, text in _revoking(settings, gateway):
        yield Finding(f"{where}.{key}", "warning", text)
    if used := sorted(REVOKER_OURS & changed(settings)):
        yield Finding(where, "hint", f"only this gateway knows: {', '.join(used)}")


def check_clients(service: Service) -> Iterator[Finding]:
    """Remarks on keys and users, of the root and of endpoints."""
    yield from _check_api_keys(service)
    yield from _check_users(service)
    for namespace in (API_KEYS, BASIC):
        is_asked = any(namespace in endpoint.extra_config for endpoint in service.endpoints)
        if namespace in service.extra_config and not is_asked:
            where = f'$.extra_config["{namespace}"]'
            yield Finding(where, "warning", "guards nothing: no endpoint asks for it")


def _check_api_keys(service: Service) -> Iterator[Finding]:
    root: ApiKeysSettings | None = service.extra_config.get(API_KEYS)
    if root is not None and root.hash == "plain" and root.keys:
        where = f'$.extra_config["{API_KEYS}"].hash'
        text = '"plain": whoever reads the configuration has the keys; "sha256" keeps them secret'
        yield Finding(where, "warning", text)
    if root is not None and root.client_max_rate:
        where = f'$.extra_config["{API_KEYS}"].client_max_rate'
        yield Finding(where, "warning", "has no effect at the root: it is an endpoint's")
    known = {role for each in root.keys for role in each.roles} if root is not None else set()
    for place, endpoint in enumerate(service.endpoints):
        settings: ApiKeysSettings | None = endpoint.extra_config.get(API_KEYS)
        if settings is None:
            continue
        where = f'$.endpoints[{place}].extra_config["{API_KEYS}"]'
        if root is None:
            yield Finding(where, "warning", "the root has no keys: every request gets 401")
        elif settings.roles and known.isdisjoint(settings.roles):
            yield Finding(f"{where}.roles", "warning", "no key has one: every request gets 401")


def _check_users(service: Service) -> Iterator[Finding]:
    root: BasicSettings = service.extra_config.get(BASIC) or BasicSettings()
    for place, endpoint in enumerate(service.endpoints):
        settings: BasicSettings | None = endpoint.extra_config.get(BASIC)
        if settings is not None and not (settings.has_users or root.has_users):
            where = f'$.endpoints[{place}].extra_config["{BASIC}"]'
            yield Finding(where, "warning", "there are no users: every request gets 401")


def _revoking(settings: RevokerSettings, gateway: GatewaySettings) -> Remarks:
    if not settings.token_keys:
        yield "token_keys", "none: nothing can be revoked"
    if gateway.management_port is None:
        yield (
            "port",
            "not used: POST /__revoker/add is on gateway.management_port, and there is none",
        )
    elif not settings.revoke_server_api_key:
        text = "none: whoever reaches the management port can revoke tokens"
        yield "revoke_server_api_key", text
    if settings.revoke_server_ping_url:
        yield "revoke_server_ping_url", "KrakenD's server is not asked: revocations are pushed here"
    if not settings.file:
        yield "file", "none: a restart forgets what was revoked, as in KrakenD"


def check_plugins(service: Service) -> Iterator[Finding]:
    """Remarks on the plugin that is here; the loader says of the others that they are not."""
    settings: PluginSettings | None = service.extra_config.get(PLUGINS)
    if settings is None:
        return
    where = f'$.extra_config["{PLUGINS}"]'
    if (aggregator := settings.aggregator) is not None:
        text = (
            f"nothing listens on port {aggregator.port}: validators that name it have the keys of "
            "its origins, looked at as those of a jwk_url"
        )
        yield Finding(f"{where}.{AGGREGATOR}", "warning", text)


def check_keys(settings: KeySettings, sources: Sequence[KeySettings]) -> Remarks:
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
        if number not in CIPHERS and number not in TLS13:
            yield "cipher_suites", f"unknown {number}, left out"
    if settings.jwk_local_path:
        yield from _key_file(settings)
    if has_url and settings.alg.startswith("HS"):
        yield "alg", "whoever can read the URL of a shared secret can make tokens"


def _key_file(settings: KeySettings) -> Remarks:
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


def _door(settings: ValidatorSettings) -> Remarks:
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


def _signing(settings: SignerSettings, endpoint: Endpoint) -> Remarks:
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


def _propagation(settings: ValidatorSettings, endpoint: Endpoint) -> Remarks:
    listed = {name.lower() for name in endpoint.input_headers}
    for place, pair in enumerate(settings.propagate_claims):
        key = f"propagate_claims[{place}]"
        if len(pair) != 2:
            yield key, "expected a claim and a header: ignored"
        elif pair[1].lower() not in listed and "*" not in listed:
            yield key, f'no backend gets "{pair[1]}": input_headers does not list it'
