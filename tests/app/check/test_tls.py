"""What is said about ``tls`` and ``client_tls``: what stops the start, and traps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway import ConfigError
from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.config.load import load

PAIR = {"public_key": "a.pem", "private_key": "a.key"}


def findings_of(**root: Any) -> str:
    return "\n".join(map(str, check(load({"version": 3, **root}, CATALOG, {}).service, CATALOG)))


def test_good_settings_have_no_warnings(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    mtls = {"enable_mtls": True, "disable_system_ca_pool": True, "ca_certs": [str(authority)]}
    suites = {"min_version": "TLS12", "cipher_suites": [0xC02F, 4865], "curve_preferences": [24]}
    assert findings_of(tls={"keys": [PAIR], **mtls, **suites}) == ""
    assert findings_of(tls=PAIR, client_tls={"cipher_suites": [4865]}) == ""


def test_a_private_key_that_every_user_can_read_is_reported(tmp_path: Path) -> None:
    key = tmp_path / "a.key"
    key.touch()
    pair = {**PAIR, "private_key": str(key)}
    client = {"certificate": "a.pem", "private_key": str(key)}
    for mode, count in ((0o604, 3), (0o640, 0)):
        key.chmod(mode)
        text = findings_of(tls={"keys": [pair], **pair}, client_tls={"client_certs": [client]})
        assert text.count(f"private_key: every user can read {key}: chmod o-r") == count
        if count:
            assert "$.tls.keys[0].private_key" in text
            assert "$.client_tls.client_certs[0].private_key" in text


def test_settings_without_effect_on_http3_are_reported() -> None:
    tls = {"keys": [PAIR], "curve_preferences": [23]}
    own = {"gateway": {"http3": True}}
    word = "$.extra_config.gateway.http3: tls.curve_preferences has no effect on HTTP/3"
    assert findings_of(tls=tls, extra_config=own) == f"warning: {word}"
    assert findings_of(tls={"keys": [PAIR]}, extra_config=own) == ""


@pytest.mark.parametrize(
    ("tls", "paths"),
    [
        ({}, ["$.tls.keys"]),
        ({"keys": []}, ["$.tls.keys"]),
        ({"keys": [PAIR, {"public_key": "a"}]}, ["$.tls.keys[1].private_key"]),
        ({"keys": [{}]}, ["$.tls.keys[0].public_key", "$.tls.keys[0].private_key"]),
        ({"private_key": "a"}, ["$.tls.public_key"]),
    ],
)
def test_without_keys_there_is_no_tls(tls: dict[str, Any], paths: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        findings_of(tls=tls)
    assert [finding.path for finding in error.value.findings] == paths
    assert (
        findings_of(tls={**tls, "disabled": True})
        == "warning: $.tls.disabled: the service uses plain HTTP"
    )


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"min_version": "TLS11", "cipher_suites": [47]}, "min_version: versions before TLS12"),
        ({"min_version": "TLS10"}, "versions before TLS12 have no cipher suite"),
        ({"min_version": "1.2"}, 'unknown "1.2": "TLS13" is used'),
        ({"max_version": "TLS12"}, "no connection can be made"),
        ({"min_version": "TLS12", "cipher_suites": [4865]}, "only TLS13 is used"),
        ({"cipher_suites": [5, 47]}, "OpenSSL does not have: 5"),
        ({"curve_preferences": [23, 24]}, "only one of 23, 24 and 25"),
        ({"curve_preferences": [29]}, "only one of 23, 24 and 25"),
    ],
)
def test_a_trap_of_both_sides(settings: dict[str, Any], word: str) -> None:
    assert word in findings_of(tls={**PAIR, **settings})
    assert word in findings_of(client_tls=settings)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"enable_mtls": True}, "every authority of this system"),
        ({"enable_mtls": True, "disable_system_ca_pool": True}, "only roots among"),
        ({"ca_certs": ["ca.pem"]}, "ca_certs: no effect without enable_mtls"),
        ({"prefer_server_cipher_suites": True}, "no effect"),
    ],
)
def test_a_trap_of_the_service(settings: dict[str, Any], word: str) -> None:
    assert word in findings_of(tls={**PAIR, **settings})


@pytest.mark.parametrize(
    ("root", "word"),
    [
        ({"use_h2c": True}, "hypercorn is the server"),
        ({"allow_insecure_connections": True}, "certificates of backends are not verified"),
        ({"client_tls": {"allow_insecure_connections": True}}, "$.client_tls.allow_insecure"),
        ({"client_tls": {"client_certs": [{}, {}]}}, "the last is used"),
        (
            {"extra_config": {"gateway": {"management_tls": True}}},
            "management_tls: no effect without tls",
        ),
    ],
)
def test_a_trap_of_the_root(root: dict[str, Any], word: str) -> None:
    assert word in findings_of(**root)
