"""``security/http``: allowed hosts, redirects to HTTPS, and security headers for browsers.

The rules of unrolled/secure, which KrakenD uses. Host and scheme may come from the headers of a
proxy. Where ``router.trusted_proxies`` is set, these headers count only from those addresses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import escape
from typing import TypeAlias
from urllib.parse import quote

from msgspec import Struct

from ..config.findings import Finding
from ..config.structs import Service
from ..core.asgi import (
    AddedHeaders,
    AsgiResponse,
    Headers,
    Scope,
    find_header,
    header_value,
)
from ..core.component import Assembly, Component, Place
from ..core.forwarding import build_proxy_test
from ..core.layers import Decision, Layer
from ..core.patterns import bad_patterns, build_full_match
from ..core.rule import Rule, where_root_lacks

IsHost: TypeAlias = Callable[[bytes], object]

BAD_HOST = AsgiResponse(
    500,
    (
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"x-content-type-options", b"nosniff"),
    ),
    b"Bad Host\n",
)
_HOST = re.compile(rb"[\w.~%\[\]:-]+", re.ASCII)
"""What may follow "https://" in a redirect (RFC 3986, 3.2.2)."""


class SecureSettings(Struct, frozen=True, kw_only=True):
    allowed_hosts: tuple[str, ...] = ()
    """Hosts, each with its port if it has one, that requests may name. Other requests get status
    500. Absent: every host."""
    allowed_hosts_are_regex: bool = False
    """Whether ``allowed_hosts`` are RE2 regular expressions, which must match the whole host."""
    host_proxy_headers: tuple[str, ...] = ()
    """Headers of a proxy that contain the host of the request, in the order of precedence."""
    ssl_redirect: bool = False
    """Whether a request without TLS is redirected to HTTPS, with status 301."""
    ssl_host: str = ""
    """The host of the redirect to HTTPS. Absent: the host of the request."""
    ssl_proxy_headers: dict[str, str] = {}
    """Headers of a proxy and their values; each says that the client uses TLS, such as
    ``{"X-Forwarded-Proto": "https"}``."""
    sts_seconds: int = 0
    """The ``max-age``, in seconds, of the header ``Strict-Transport-Security``, which is sent over
    TLS. 0: no such header."""
    sts_include_subdomains: bool = False
    """Whether ``Strict-Transport-Security`` has ``includeSubDomains``."""
    force_sts_header: bool = False
    """Whether ``Strict-Transport-Security`` is sent also without TLS."""
    frame_deny: bool = False
    """Whether responses have ``X-Frame-Options: DENY``."""
    custom_frame_options_value: str = ""
    """The value of ``X-Frame-Options``, in place of ``DENY``."""
    content_type_nosniff: bool = False
    """Whether responses have ``X-Content-Type-Options: nosniff``."""
    browser_xss_filter: bool = False
    """Whether responses have ``X-XSS-Protection: 1; mode=block``."""
    content_security_policy: str = ""
    """The value of ``Content-Security-Policy``. Absent: no such header."""
    referrer_policy: str = ""
    """The value of ``Referrer-Policy``. Absent: no such header."""
    hpkp_public_key: str = ""
    """Has no effect, as in KrakenD."""
    is_development: bool = False
    """Whether ``allowed_hosts``, ``ssl_redirect`` and ``sts_seconds`` have no effect."""


def verify_secure(settings: SecureSettings) -> Iterator[tuple[str, str]]:
    """Invalid patterns."""
    if settings.allowed_hosts_are_regex:
        yield from bad_patterns(settings.allowed_hosts, "allowed_hosts")


def build_secure(settings: SecureSettings, service: Service, assembly: Assembly) -> Layer:
    """The layer."""
    is_development = settings.is_development
    is_host = None if is_development else build_host_test(settings)
    redirects = settings.ssl_redirect and not is_development
    host_of, is_https = _build_host(settings, service), _build_scheme(settings, service)
    ssl_host = header_value(settings.ssl_host)
    headers = tuple(build_headers(settings))
    secure_headers = (*_strict_transport(settings), *headers)
    plain_headers = secure_headers if settings.force_sts_header else headers
    replaced = frozenset(name for name, _ in secure_headers)
    needs_host = is_host is not None or (redirects and not ssl_host)
    needs_scheme = redirects or secure_headers != plain_headers

    def decide(scope: Scope) -> Decision:
        host = host_of(scope) if needs_host else b""
        if is_host is not None and not is_host(host):
            return BAD_HOST
        is_secure = needs_scheme and is_https(scope)
        if redirects and not is_secure:
            return redirect(scope, ssl_host or host)
        return AddedHeaders(secure_headers if is_secure else plain_headers, replaced)

    return Layer(decide)


def build_host_test(settings: SecureSettings) -> IsHost | None:
    """A test whether a host, with its port, is allowed; None: every host is allowed.

    A pattern must match the whole host (KrakenD's "a|b" is "begins with a, or ends with b").
    """
    if not settings.allowed_hosts:
        return None
    if settings.allowed_hosts_are_regex:
        patterns = [build_full_match(each) for each in settings.allowed_hosts]
        return lambda host: any(match(host.decode(errors="replace")) for match in patterns)
    allowed = frozenset(each.lower().encode() for each in settings.allowed_hosts)
    return lambda host: host.lower() in allowed


def _build_host(settings: SecureSettings, service: Service) -> Callable[[Scope], bytes]:
    names = [name.lower().encode() for name in settings.host_proxy_headers]
    is_proxy = build_proxy_test(service)

    def host(scope: Scope) -> bytes:
        headers = scope["headers"]
        for name in names:
            if (forwarded := find_header(headers, name)) and is_proxy(scope):
                return forwarded
        return find_header(headers, b"host")

    return host


def _build_scheme(settings: SecureSettings, service: Service) -> Callable[[Scope], bool]:
    configured = settings.ssl_proxy_headers.items()
    pairs = [(name.lower().encode(), value.encode()) for name, value in configured]
    is_proxy = build_proxy_test(service)

    def is_https(scope: Scope) -> bool:
        if scope.get("scheme") == "https":
            return True
        headers = scope["headers"]
        return any(find_header(headers, name) == value for name, value in pairs) and is_proxy(scope)

    return is_https


def redirect(scope: Scope, host: bytes) -> AsgiResponse:
    """A redirect to the same URL over HTTPS (as Go's http.Redirect); an error for a bad host."""
    if not _HOST.fullmatch(host):
        return BAD_HOST
    raw = scope.get("raw_path") or scope["path"].encode()
    target = quote(raw, safe="/:@!$&'()*+,;=~-._%").encode()
    query = quote(scope["query_string"], safe="/:@!$&'()*+,;=~-._%?[]|^`{}\\").encode()
    location = b"https://" + host + target + (b"?" + query if query else b"")
    if scope["method"] not in ("GET", "HEAD"):
        return AsgiResponse(301, [(b"location", location)])
    body = b'<a href="%b">Moved Permanently</a>.\n\n' % escape(location.decode()).encode()
    headers = [(b"location", location), (b"content-type", b"text/html; charset=utf-8")]
    return AsgiResponse(301, headers, body)


def build_headers(settings: SecureSettings) -> Iterator[tuple[bytes, bytes]]:
    """The headers of every response, except ``Strict-Transport-Security``."""
    if settings.custom_frame_options_value:
        yield b"x-frame-options", header_value(settings.custom_frame_options_value)
    elif settings.frame_deny:
        yield b"x-frame-options", b"DENY"
    if settings.content_type_nosniff:
        yield b"x-content-type-options", b"nosniff"
    if settings.browser_xss_filter:
        yield b"x-xss-protection", b"1; mode=block"
    if settings.content_security_policy:
        yield b"content-security-policy", header_value(settings.content_security_policy)
    if settings.referrer_policy:
        yield b"referrer-policy", header_value(settings.referrer_policy)


def _strict_transport(settings: SecureSettings) -> Headers:
    if not settings.sts_seconds or settings.is_development:
        return ()
    value = b"max-age=%d" % settings.sts_seconds
    if settings.sts_include_subdomains:
        value += b"; includeSubDomains"
    return ((b"strict-transport-security", value),)


def findings(settings: SecureSettings, place: Place) -> Iterator[Finding]:
    return place.warnings(_traps(settings, place.service))


def _traps(settings: SecureSettings, service: Service) -> Iterator[tuple[str, str]]:
    if settings.is_development:
        yield "is_development", "allowed_hosts, ssl_redirect and sts_seconds have no effect"
    has_tls = service.tls is not None and not service.tls.disabled
    if settings.ssl_redirect and not has_tls and not settings.ssl_proxy_headers:
        text = "the service has no TLS and there are no ssl_proxy_headers: all are redirected"
        yield "ssl_redirect", text
    if not service.router.trusted_proxies:
        text = "any client may send these headers: list your proxies in router.trusted_proxies"
        if settings.host_proxy_headers:
            yield "host_proxy_headers", text
        if settings.ssl_proxy_headers:
            yield "ssl_proxy_headers", text
    for index, host in enumerate(settings.allowed_hosts):
        if "/" in host and not settings.allowed_hosts_are_regex:
            text = f'"{host}" is not a host: write it without scheme and path'
            yield f"allowed_hosts[{index}]", text
    if settings.hpkp_public_key:
        yield "hpkp_public_key", "has no effect: browsers do not support it any more"
    if "$NONCE" in settings.content_security_policy:
        yield (
            "content_security_policy",
            "$NONCE is sent as it is: the gateway does not generate a nonce",
        )


COMPONENT = Component(
    "security/http",
    SecureSettings,
    aliases=("github_com/devopsfaith/krakend-httpsecure",),
    verify=verify_secure,
    handler_layer=build_secure,
    findings=findings,
    advice=(
        Rule(
            "2.1.7",
            "HIGH",
            "Enable the checks of HTTP headers (security/http).",
            where_root_lacks(SecureSettings),
        ),
    ),
)
