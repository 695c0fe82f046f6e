"""HTTPS backends: whom the gateway trusts, and as whom it comes."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

import pytest

from .service import answering, message, serving
from .test_backend import asking, configuration

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parent / "certificates"
AUTHORITY = str(FOLDER / "ca.pem")
CERTIFICATE = str(FOLDER / "localhost.pem")
KEY = str(FOLDER / "localhost.key")
"""Made for these tests, for "localhost", valid for a hundred years."""

TRUSTING = {"ca_certs": [AUTHORITY], "disable_system_ca_pool": True}


def server_side(**changes: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE, KEY)
    for name, value in changes.items():
        setattr(context, name, value)
    return context


async def status(settings: dict[str, Any], tls: ssl.SSLContext, host: str = "localhost") -> int:
    """What a client gets when the gateway has these ``settings``."""
    with serving(answering(message()), tls) as service:
        url = service.url.replace("localhost", host)
        async with asking(configuration(url, root=settings)) as client:
            return (await client.get("/")).status_code


async def test_a_certificate_of_a_known_authority_is_trusted() -> None:
    assert await status({"client_tls": TRUSTING}, server_side()) == 200


@pytest.mark.parametrize(
    "settings",
    [{}, {"client_tls": {}}, {"client_tls": {"ca_certs": ["/nowhere.pem"]}}],
)
async def test_a_certificate_of_an_unknown_one_is_not(settings: dict[str, Any]) -> None:
    assert await status(settings, server_side()) == 500


async def test_a_certificate_is_for_its_host() -> None:
    assert await status({"client_tls": TRUSTING}, server_side(), "127.0.0.1") == 500


@pytest.mark.parametrize(
    "settings",
    [
        {"client_tls": {"allow_insecure_connections": True}},
        {"allow_insecure_connections": True},
    ],
)
async def test_everybody_is_trusted_when_the_configuration_says_so(
    settings: dict[str, Any],
) -> None:
    assert await status(settings, server_side(), "127.0.0.1") == 200


async def test_the_oldest_version_is_1_3_unless_said_otherwise() -> None:
    old = server_side(maximum_version=ssl.TLSVersion.TLSv1_2)
    assert await status({"client_tls": TRUSTING}, old) == 500
    older = {**TRUSTING, "min_version": "TLS12"}
    assert await status({"client_tls": older}, old) == 200


async def test_suites_can_be_chosen_for_older_versions() -> None:
    old = server_side(maximum_version=ssl.TLSVersion.TLSv1_2)
    old.set_ciphers("ECDHE+AES128+AESGCM")
    older = {**TRUSTING, "min_version": "TLS12"}
    for suites, answered in (([], 200), ([0xC030, 0xC02C], 500), ([0xC030, 0xC02F, 0xC02B], 200)):
        settings = {"client_tls": {**older, "cipher_suites": suites}}
        assert await status(settings, old) == answered


async def test_the_gateway_shows_its_certificate() -> None:
    strict = server_side(verify_mode=ssl.CERT_REQUIRED)
    strict.load_verify_locations(AUTHORITY)
    assert await status({"client_tls": TRUSTING}, strict) == 500
    pair = {"certificate": CERTIFICATE, "private_key": KEY}
    assert await status({"client_tls": {**TRUSTING, "client_certs": [pair]}}, strict) == 200


async def test_a_file_that_cannot_be_used_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        await status({"client_tls": {"ca_certs": ["/nowhere.pem"]}}, server_side())
    assert "cannot read /nowhere.pem: No such file or directory" in caplog.text
