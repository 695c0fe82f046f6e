"""The traps of ``security/...`` that ``gateway check`` warns of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.config.load import load

ENDPOINT = {"backend": [{"url_pattern": "/", "host": ["http://127.0.0.1:10"]}]}


def findings_of(extra: dict[str, Any], **root: Any) -> str:
    document = {"version": 3, "endpoints": [ENDPOINT], "extra_config": extra, **root}
    return "\n".join(map(str, check(load(document, CATALOG, {}).service, CATALOG)))


def test_good_settings_have_no_warnings() -> None:
    extra = {
        "security/cors": {"allow_origins": ["https://a.test", "http://*.b.test:8080", "null"]},
        "security/http": {
            "allowed_hosts": ["a.test:443"],
            "ssl_redirect": True,
            "ssl_proxy_headers": {"X-Forwarded-Proto": "https"},
        },
        "security/bot-detector": {"deny": ["bot/1.0 (+http://b.test)"], "patterns": ["^bot"]},
        "router": {"trusted_proxies": ["10.0.0.0/8"]},
    }
    assert findings_of(extra) == ""


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"allow_credentials": True}, "allow_credentials: browsers refuse"),
        ({"allow_origins": ["*"], "allow_credentials": True}, "list the origins"),
        ({"allow_origins": ["a.test"]}, "allow_origins[0]: no browser sends"),
        ({"allow_origins": ["https://a.test/"]}, "no browser sends"),
        ({"allow_methods": ["get", "GET"]}, 'no browser requests "get"'),
        ({"allow_methods": ["POST"]}, "endpoints have methods that are missing here: GET"),
        ({"max_age": "1 day"}, 'such as "12h"'),
        ({"options_success_status": 1000}, "have 204"),
    ],
)
def test_a_trap_of_cors(settings: dict[str, Any], word: str) -> None:
    assert word in findings_of({"security/cors": settings})


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"is_development": True}, "have no effect"),
        ({"ssl_redirect": True}, "all are redirected"),
        ({"host_proxy_headers": ["X-Host"]}, "host_proxy_headers: any client"),
        ({"ssl_proxy_headers": {"X-Proto": "https"}}, "ssl_proxy_headers: any client"),
        ({"allowed_hosts": ["https://a.test"]}, "without scheme"),
        ({"hpkp_public_key": "x"}, "browsers do not support it"),
        ({"content_security_policy": "script-src $NONCE"}, "nonce"),
    ],
)
def test_a_trap_of_security_http(settings: dict[str, Any], word: str) -> None:
    assert word in findings_of({"security/http": settings})


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"deny": ["bot.*"]}, "deny[0]: is compared with the whole User-Agent"),
        ({"allow": ["^good"]}, "allow[0]: is compared"),
        ({"patterns": ["^x", "(?i)mozilla"]}, "patterns[1]: matches anywhere"),
        ({"patterns": [""]}, "ordinary browsers"),
    ],
)
def test_a_trap_of_bots(settings: dict[str, Any], word: str) -> None:
    assert word in findings_of({"security/bot-detector": settings})
    guarded = {**ENDPOINT, "extra_config": {"security/bot-detector": settings}}
    assert "$.endpoints[0].extra_config" in findings_of({}, endpoints=[guarded])


def test_a_proxy_that_is_not_a_network_is_reported() -> None:
    output = findings_of({"router": {"trusted_proxies": ["10.1.2.3", "10.0.0.0/8", "lan"]}})
    assert output.startswith(
        'warning: $.extra_config.router.trusted_proxies[2]: "lan" is not a network'
    )


@given(st.text(max_size=30))
def test_cors_for_every_origin_is_a_warning(origin: str) -> None:
    findings_of({"security/cors": {"allow_origins": [origin]}})
