"""What decoding does not see in settings of ``auth/`` and stops the start: unknown algorithms,
files, texts that are no keys. Reads the files that the settings name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .fetch import build_context, decode_fingerprints
from .jose import ALGORITHMS
from .keys import Jwk, Keys, read_key_set
from .settings import KeySettings, ValidatorSettings

Problem = tuple[str, str]


def verify_validator(settings: ValidatorSettings) -> Iterator[Problem]:
    yield from _verify_keys(settings)
    if settings.cache and settings.jwk_local_path:
        yield "cache", "has no meaning for a file (KrakenD does not start with it)"


def _verify_keys(settings: KeySettings) -> Iterator[Problem]:
    """What ``auth/validator`` and ``auth/signer`` have in common."""
    if settings.secret_url or settings.cypher_key:
        yield (
            "secret_url",
            "encrypted key files are not implemented: keep them readable by us alone",
        )
    if settings.alg not in ALGORITHMS:
        yield "alg", f'unknown "{settings.alg}"; there are: {", ".join(ALGORITHMS)}'
    elif settings.jwk_local_path:
        try:
            jwks = read_key_file(settings.jwk_local_path)
        except ValueError as error:
            yield "jwk_local_path", str(error)
        else:
            strategy = getattr(settings, "key_identify_strategy", "kid")
            for problem in Keys(jwks, settings.alg, strategy).problems:
                yield "jwk_local_path", problem
    yield from _verify_tls(settings)


def _verify_tls(settings: KeySettings) -> Iterator[Problem]:
    try:
        decode_fingerprints(settings.jwk_fingerprints)
    except ValueError:
        yield "jwk_fingerprints", "expected SHA-256 sums in base64url"
        return
    try:
        build_context(settings)
    except OSError as error:  # ssl.SSLError is one
        yield "jwk_local_ca", f"cannot be used: {error.strerror or error}"


def read_key_file(path: str) -> tuple[Jwk, ...]:
    """Raises ValueError, with a text for people."""
    try:
        return read_key_set(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
