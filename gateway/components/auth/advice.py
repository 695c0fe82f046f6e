"""What ``audit`` says of authentication, tokens and their keys. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from ...config.structs import Service
from ...core.families import settings_of
from ...core.rule import Rule, endpoints, is_local, when, where_configured
from .settings import (
    SIGNER,
    VALIDATOR,
    ApiKeysSettings,
    BasicSettings,
    KeySettings,
    SignerSettings,
    ValidatorSettings,
)
from .sources import find_sources


def _validators(service: Service) -> Iterator[tuple[ValidatorSettings, str]]:
    for endpoint, path in endpoints(service):
        if (settings := settings_of(endpoint, ValidatorSettings)) is not None:
            yield settings, f'{path}.extra_config["{VALIDATOR}"]'


def _no_expiry(service: Service) -> Iterator[str]:
    return (path for each, path in _validators(service) if not each.require_exp)


def _no_audience(service: Service) -> Iterator[str]:
    return (path for each, path in _validators(service) if not each.audience)


def _open_keys(service: Service) -> Iterator[str]:
    """Those that come over plain HTTP from another machine; ``disable_jwk_security`` alone says
    nothing: keys of a file need it as well.
    """
    for endpoint, path in endpoints(service):
        validator = settings_of(endpoint, ValidatorSettings)
        signer = settings_of(endpoint, SignerSettings)
        if validator is not None and any(map(_is_open, find_sources(validator, service))):
            yield f'{path}.extra_config["{VALIDATOR}"]'
        if signer is not None and _is_open(signer):
            yield f'{path}.extra_config["{SIGNER}"]'


def _is_open(source: KeySettings) -> bool:
    urls = map(urlsplit, source.urls)
    return any(url.scheme == "http" and not is_local(url.hostname) for url in urls)


ON_BASIC = (
    Rule(
        "1.1.1",
        "HIGH",
        "Prefer a more secure way than Basic Auth.",
        where_configured(BasicSettings),
    ),
)
ON_API_KEYS = (
    Rule("1.1.2", "MEDIUM", "Prefer tokens (JWT) to API keys.", where_configured(ApiKeysSettings)),
)
ON_VALIDATORS = (
    Rule(
        "1.2.1",
        "HIGH",
        "Authorize endpoints with JWT (auth/validator).",
        lambda service: when(service.endpoints and not any(_validators(service))),
    ),
    Rule(
        "9.2.1",
        "MEDIUM",
        "A token without exp is good for ever: require_exp refuses it.",
        _no_expiry,
    ),
    Rule("9.2.2", "MEDIUM", "Name the audience that tokens must be meant for.", _no_audience),
    Rule(
        "9.2.3",
        "HIGH",
        "Keys are fetched over plain HTTP (jwk_url): an attacker on the network can forge tokens.",
        _open_keys,
    ),
)
