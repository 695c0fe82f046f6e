"""Traps of ``security/...``: what lets in too much, or nobody. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...components.bots import BotSettings
from ...components.cors import SIMPLE_METHODS, CorsSettings, seconds, success_status
from ...components.secure import SecureSettings
from ...config.findings import Finding
from ...config.structs import RouterSettings, Service
from ...core.forwarding import network_of
from ...core.patterns import PatternError, build_search

CORS, SECURE, BOTS = "security/cors", "security/http", "security/bot-detector"
BROWSERS = (
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/140.0.0.0 Safari/537.36"
    ),
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:140.0) Gecko/20100101 Firefox/140.0",
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
    ),
)
_ORIGIN = re.compile(r"[a-z][a-z\d+.*-]*://[^/?#\s]+|\*[^/?#\s]*|null", re.IGNORECASE)
"""As a browser writes it, but for a "*"."""
_LOOKS_LIKE_PATTERN = re.compile(r"\.\*|\\|^\^|\$$|\(\?")


def check_security(service: Service) -> Iterator[Finding]:
    """Remarks on the layers of the service and the guards of its endpoints."""
    extra = service.extra_config
    router: RouterSettings = extra.get("router") or RouterSettings()
    for place, text in enumerate(router.trusted_proxies):
        if network_of(text) is None:
            where = f"$.extra_config.router.trusted_proxies[{place}]"
            yield Finding(where, "warning", f'"{text}" is no network such as 10.0.0.0/8, ignored')
    if (cors := extra.get(CORS)) is not None:
        yield from _at("$", CORS, _on_cors(cors, service))
    if (secure := extra.get(SECURE)) is not None:
        yield from _at("$", SECURE, _on_secure(secure, service, router))
    if (bots := extra.get(BOTS)) is not None:
        yield from _at("$", BOTS, _on_bots(bots))
    for place, endpoint in enumerate(service.endpoints):
        if (bots := endpoint.extra_config.get(BOTS)) is not None:
            yield from _at(f"$.endpoints[{place}]", BOTS, _on_bots(bots))


def _at(path: str, namespace: str, remarks: Iterator[tuple[str, str]]) -> Iterator[Finding]:
    for key, text in remarks:
        yield Finding(f'{path}.extra_config["{namespace}"].{key}', "warning", text)


def _on_cors(settings: CorsSettings, service: Service) -> Iterator[tuple[str, str]]:
    if settings.allow_credentials and (not settings.allow_origins or "*" in settings.allow_origins):
        yield "allow_credentials", "browsers refuse it for every origin: name them"
    for place, origin in enumerate(settings.allow_origins):
        if not _ORIGIN.fullmatch(origin):
            text = f'no browser sends "{origin}": it is a scheme, a host and perhaps a port'
            yield f"allow_origins[{place}]", text
    methods = settings.allow_methods or SIMPLE_METHODS
    for place, method in enumerate(settings.allow_methods):
        if method != method.upper():
            yield f"allow_methods[{place}]", f'methods are in capitals: "{method}" is never asked'
    used = {endpoint.method for endpoint in service.endpoints}
    if left_out := sorted(used - set(methods)):
        yield "allow_methods", f"endpoints have others: {', '.join(left_out)}"
    if settings.max_age and seconds(settings.max_age) is None:
        yield "max_age", 'expected a duration such as "12h", ignored'
    if settings.options_success_status not in (0, success_status(settings)):
        yield "options_success_status", "not a status, 204 is answered"


def _on_secure(
    settings: SecureSettings, service: Service, router: RouterSettings
) -> Iterator[tuple[str, str]]:
    if settings.is_development:
        yield "is_development", "allowed_hosts, ssl_redirect and sts_seconds are off"
    has_tls = service.tls is not None and not service.tls.disabled
    if settings.ssl_redirect and not has_tls and not settings.ssl_proxy_headers:
        text = "there is no TLS here, and no ssl_proxy_headers tells of any: all are redirected"
        yield "ssl_redirect", text
    if not router.trusted_proxies:
        for key in ("host_proxy_headers", "ssl_proxy_headers"):
            if getattr(settings, key):
                yield key, "any client may send these: router.trusted_proxies says whom to believe"
    for place, host in enumerate(settings.allowed_hosts):
        if "/" in host and not settings.allowed_hosts_are_regex:
            yield f"allowed_hosts[{place}]", f'"{host}" is no host: no scheme, no path'
    if settings.hpkp_public_key:
        yield "hpkp_public_key", "browsers have given it up: no effect"
    if "$NONCE" in settings.content_security_policy:
        yield "content_security_policy", "nobody behind the gateway would know the nonce"


def _on_bots(settings: BotSettings) -> Iterator[tuple[str, str]]:
    for key in ("deny", "allow"):
        for place, text in enumerate(getattr(settings, key)):
            if _LOOKS_LIKE_PATTERN.search(text):
                yield f"{key}[{place}]", "compared with the whole text, not as a pattern"
    for place, pattern in enumerate(settings.patterns):
        try:
            search = build_search(pattern)
        except PatternError:  # the start stops, with its path
            continue
        if any(search(browser) for browser in BROWSERS):
            text = 'matches anywhere, and ordinary browsers too: anchor it with "^"'
            yield f"patterns[{place}]", text
