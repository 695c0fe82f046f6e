"""Errors in the settings of tokens that stop the start: algorithms, files, keys and URLs. It reads
the files of the settings.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ...config.files import cannot_read
from ...http.targets import parse_url
from ...tls.policy import why_not_loaded
from .fetch import decode_fingerprints
from .jose import ALGORITHMS
from .keys import Jwk, Keys, read_key_set
from .settings import (
    KeySettings,
    SignerSettings,
    ValidatorSettings,
)

Problem = tuple[str, str]


def verify_validator(settings: ValidatorSettings) -> Iterator[Problem]:
    yield from _verify_keys(
        settings, lambda jwks: Keys(jwks, settings.alg, settings.key_identify_strategy)
    )
    for key in ("cache_duration", "shared_cache_duration"):
        if getattr(settings, key) < 0:
            yield key, "expected a number of seconds, 0 or more"
    if settings.cache and settings.jwk_local_path and not settings.urls:
        yield "cache", "has no effect on a file (KrakenD does not start with it)"


def verify_signer(settings: SignerSettings) -> Iterator[Problem]:
    yield from _verify_keys(
        settings,
        lambda jwks: Keys(
            [jwk for jwk in jwks if jwk.get("kid") == settings.kid],
            settings.alg,
            are_to_sign=True,
        ),
    )


def _verify_keys(
    settings: KeySettings, keys_of: Callable[[Sequence[Jwk]], Keys]
) -> Iterator[Problem]:
    """For ``auth/validator`` and ``auth/signer``."""
    if settings.secret_url or settings.cypher_key:
        yield (
            "secret_url",
            "encrypted key files are not implemented: use a file that only the gateway can read",
        )
    if settings.alg not in ALGORITHMS:
        yield "alg", f'unknown "{settings.alg}"; there are: {", ".join(ALGORITHMS)}'
    elif settings.jwk_local_path:
        try:
            jwks = read_key_file(settings.jwk_local_path)
        except ValueError as error:
            yield "jwk_local_path", str(error)
        else:
            for problem in keys_of(jwks).problems:
                yield "jwk_local_path", problem
    for url in settings.urls:
        try:
            parse_url(url)
        except ValueError as error:
            yield ("jwk_url" if url == settings.jwk_url else "jwk_urls"), str(error)
    yield from _verify_tls(settings)


def _verify_tls(settings: KeySettings) -> Iterator[Problem]:
    try:
        decode_fingerprints(settings.jwk_fingerprints)
    except ValueError:
        yield "jwk_fingerprints", "expected SHA-256 sums in base64url"
    try:
        if settings.jwk_local_ca:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(settings.jwk_local_ca)
    except OSError as error:  # ssl.SSLError is one
        yield "jwk_local_ca", why_not_loaded(settings.jwk_local_ca, error)


def read_key_file(path: str) -> tuple[Jwk, ...]:
    """Raises ValueError with a message for the operator."""
    try:
        return read_key_set(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(cannot_read(path, error)) from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
