"""``security/http``: whom a request may ask for, over what, and headers for browsers.

The rules of unrolled/secure, which KrakenD uses. Host and scheme may be told by a proxy's headers;
where the configuration names its proxies they count from those alone.
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
    AsgiResponse,
    Handler,
    Headers,
    Receive,
    Scope,
    Send,
    header,
    header_value,
    send_answer,
    with_headers,
)
from ..core.component import Assembly, Component, Place
from ..core.forwarding import build_proxy_test
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
"""What may follow "https://" of a redirect (RFC 3986, 3.2.2)."""


class SecureSettings(Struct, frozen=True, kw_only=True):
    """KrakenD's names. ``hpkp_public_key`` has no effect, as in KrakenD."""

    allowed_hosts: tuple[str, ...] = ()
    allowed_hosts_are_regex: bool = False
    host_proxy_headers: tuple[str, ...] = ()
    ssl_redirect: bool = False
    ssl_host: str = ""
    ssl_proxy_headers: dict[str, str] = {}
    sts_seconds: int = 0
    sts_include_subdomains: bool = False
    force_sts_header: bool = False
    frame_deny: bool = False
    custom_frame_options_value: str = ""
    content_type_nosniff: bool = False
    browser_xss_filter: bool = False
    content_security_policy: str = ""
    referrer_policy: str = ""
    hpkp_public_key: str = ""
    is_development: bool = False


def verify_secure(settings: SecureSettings) -> Iterator[tuple[str, str]]:
    """A pattern that is none would let no host in, or every one."""
    if settings.allowed_hosts_are_regex:
        yield from bad_patterns(settings.allowed_hosts, "allowed_hosts")


def build_secure(
    settings: SecureSettings, service: Service, assembly: Assembly
) -> Callable[[Handler], Handler]:
    """The layer. ``is_development``: every host and scheme will do."""
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

    def layer(handler: Handler) -> Handler:
        async def secure(
            scope: Scope, receive: Receive, send: Send, params: dict[str, str]
        ) -> None:
            host = host_of(scope) if needs_host else b""
            if is_host is not None and not is_host(host):
                await send_answer(send, BAD_HOST)
                return
            is_secure = needs_scheme and is_https(scope)
            if redirects and not is_secure:
                await send_answer(send, redirect(scope, ssl_host or host))
                return
            added = secure_headers if is_secure else plain_headers
            await handler(scope, receive, with_headers(send, added, replaced), params)

        return secure

    return layer


def build_host_test(settings: SecureSettings) -> IsHost | None:
    """Whether a host, with its port, is allowed; None when all are.

    A pattern has to match the whole host (KrakenD's "a|b" is "begins with a, or ends with b").
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
            if (told := header(headers, name)) and is_proxy(scope):
                return told
        return header(headers, b"host")

    return host


def _build_scheme(settings: SecureSettings, service: Service) -> Callable[[Scope], bool]:
    told_by = settings.ssl_proxy_headers.items()
    pairs = [(name.lower().encode(), value.encode()) for name, value in told_by]
    is_proxy = build_proxy_test(service)

    def is_https(scope: Scope) -> bool:
        if scope.get("scheme") == "https":
            return True
        headers = scope["headers"]
        return any(header(headers, name) == value for name, value in pairs) and is_proxy(scope)

    return is_https


def redirect(scope: Scope, host: bytes) -> AsgiResponse:
    """To the same over HTTPS; nowhere when there is no host to name. (Go, http.Redirect)"""
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
    """What every answer has."""
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
        yield "is_development", "allowed_hosts, ssl_redirect and sts_seconds are off"
    has_tls = service.tls is not None and not service.tls.disabled
    if settings.ssl_redirect and not has_tls and not settings.ssl_proxy_headers:
        text = "there is no TLS here, and no ssl_proxy_headers tells of any: all are redirected"
        yield "ssl_redirect", text
    if not service.router.trusted_proxies:
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
