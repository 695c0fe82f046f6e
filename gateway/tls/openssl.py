"""What KrakenD's TLS settings mean to OpenSSL: versions, cipher suites, curves."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Iterator, Sequence
from functools import cache

NEWEST = ssl.TLSVersion.TLSv1_3
VERSIONS = {
    "SSL3.0": ssl.TLSVersion.TLSv1,  # OpenSSL has no SSL 3.0 any more
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": NEWEST,
}
"""Any other name means the newest (lura, parseTLSVersion)."""

DEFAULT_SUITES = (0xC02F, 0xC02B, 0xC030, 0xC02C, 0xCCA8, 0xCCA9)
"""KrakenD's, for TLS 1.2: ECDHE with AES-GCM or ChaCha20 (lura, defaultCipherSuites)."""
CURVES = {23: "prime256v1", 24: "secp384r1", 25: "secp521r1"}


REASONS = {
    "KEY_VALUES_MISMATCH": "the private key does not belong to the certificate",
    "NO_START_LINE": "a file has no PEM in it",
    "PEM_LIB": "a file has no PEM in it",
    "NO_CERTIFICATE_OR_CRL_FOUND": "the file has no certificate in PEM",
    "BAD_DECRYPT": "the private key is encrypted",
    "BAD_PASSWORD_READ": "the private key is encrypted",
    "EE_KEY_TOO_SMALL": "the key is too short for OpenSSL's security level",
    "CA_MD_TOO_WEAK": "its signature is too weak for OpenSSL's security level",
}


def reason_of(error: Exception) -> str:
    """Why OpenSSL or the operating system has failed, in words."""
    reason: str = getattr(error, "reason", None) or ""
    if isinstance(error, ssl.SSLError) and reason:
        return REASONS.get(reason.replace(" ", "_"), reason.replace("_", " ").lower())
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def restrict(
    context: ssl.SSLContext,
    min_version: str,
    max_version: str,
    cipher_suites: Sequence[int],
    curve_preferences: Sequence[int],
) -> None:
    """Allow in ``context`` what the settings allow, and nothing else.

    As in Go the suites of TLS 1.3 cannot be chosen; with a list of only these, older versions are
    not allowed. One curve can be chosen; with several curves OpenSSL uses its own.
    """
    oldest, newest = VERSIONS.get(min_version, NEWEST), VERSIONS.get(max_version, NEWEST)
    names = [name for each in cipher_suites or DEFAULT_SUITES if (name := suite_name(each))]
    if not names:
        oldest = NEWEST
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of versions before 1.2
        context.minimum_version = oldest
        context.maximum_version = newest
    if names:
        # Versions that sign with SHA-1 need the lowest security level of OpenSSL.
        level = [] if oldest >= ssl.TLSVersion.TLSv1_2 else ["@SECLEVEL=0"]
        context.set_ciphers(":".join([*names, *level]))
    if len(curve_preferences) == 1 and (curve := CURVES.get(curve_preferences[0])):
        context.set_ecdh_curve(curve)


def suite_name(suite: int) -> str | None:
    """OpenSSL's name of a suite before TLS 1.3; None: OpenSSL does not have it."""
    return _suites().get(suite)


def is_suite_of_newest(suite: int) -> bool:
    """Whether it is a suite of TLS 1.3, which is always on (RFC 8446, B.4)."""
    return suite >> 8 == 0x13


@cache
def _suites() -> dict[int, str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:!aNULL:!eNULL:@SECLEVEL=0")
    known = ((cipher["id"] & 0xFFFF, cipher["name"]) for cipher in context.get_ciphers())
    return {suite: name for suite, name in known if not is_suite_of_newest(suite)}


def tls_warnings(
    min_version: str,
    max_version: str,
    cipher_suites: Sequence[int],
    curve_preferences: Sequence[int],
) -> Iterator[tuple[str, str]]:
    """Keys, and what is wrong or weak about their values."""
    for key, name in (("min_version", min_version), ("max_version", max_version)):
        if name not in VERSIONS:
            yield key, f'unknown "{name}": "TLS13" is used; known: {", ".join(VERSIONS)}'
    oldest, newest = VERSIONS.get(min_version, NEWEST), VERSIONS.get(max_version, NEWEST)
    if oldest > newest:
        yield "max_version", "older than min_version: no connection can be made"
    if oldest < ssl.TLSVersion.TLSv1_2:
        yield "min_version", "versions before TLS12 are insecure, and browsers do not use them"
        if not cipher_suites:
            yield "cipher_suites", "versions before TLS12 have no cipher suite unless this is set"
    unknown = [each for each in cipher_suites if not suite_name(each)]
    if others := [str(each) for each in unknown if not is_suite_of_newest(each)]:
        yield "cipher_suites", f"OpenSSL does not have: {', '.join(others)}"
    if cipher_suites and len(unknown) == len(cipher_suites) and oldest < NEWEST:
        yield "cipher_suites", "no suite of a version before TLS13: only TLS13 is used"
    if curve_preferences and not (len(curve_preferences) == 1 and curve_preferences[0] in CURVES):
        yield (
            "curve_preferences",
            "only one of 23, 24 and 25 can be chosen: the curves of OpenSSL are used",
        )
