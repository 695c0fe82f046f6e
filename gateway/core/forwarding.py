"""Which headers and query strings of a request are forwarded to a backend. Pure.

Only listed ones are (KrakenD's zero trust): first by the list of the endpoint, then by that of the
backend, if it has one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias
from urllib.parse import quote_plus, unquote_to_bytes

from ..config.structs import Backend, Endpoint, Service
from ..telemetry.propagation import NO_NAMES
from .asgi import Scope
from .proxy import BACKEND_LISTS, ENDPOINT_LISTS, UNFILTERED, Guard, Request
from .request_ids import REQUEST_ID_NAMES
from .version import USER_AGENT

Headers: TypeAlias = list[tuple[bytes, bytes]]
ForwardHeaders: TypeAlias = Callable[[Request], Headers]
"""Names in lower case; repeated headers stay repeated."""
ForwardQuery: TypeAlias = Callable[[Request], str]
"""The query string for a backend, encoded again and sorted by name, of one that is not empty."""

ALWAYS = (b"x-forwarded-for", b"x-forwarded-host", b"user-agent")
VIA = b"x-forwarded-via"
CONNECTION = b"connection"
UNLISTED = ("Content-Type",)
"""Headers that are forwarded if the endpoint lists none (lura, transport/http/server)."""

CLIENT_ADDRESS_HEADERS = ("X-Forwarded-For", "X-Real-Ip")
MAX_PROXIES = 100
"""Addresses of X-Forwarded-For that are checked, from its end."""
MAX_ADDRESS = 45
"""Characters of an IP address: of IPv6, with IPv4 inside."""
EVERY_NETWORK = ("0.0.0.0/0", "::/0")


class _Everything:
    """All names."""

    def __contains__(self, name: object) -> bool:
        return True


class _EverythingBut:
    """All names, except for these."""

    def __init__(self, excluded: frozenset[bytes]) -> None:
        self._excluded = excluded

    def __contains__(self, name: object) -> bool:
        return name not in self._excluded


EVERYTHING = _Everything()

_BAD_ESCAPE = re.compile(rb"%(?![\da-fA-F]{2})")


def build_forward_headers(endpoint: Endpoint, backend: Backend, service: Service) -> ForwardHeaders:
    """The headers that a backend gets: listed ones, and those by which the gateway describes the
    client.

    The list of a backend applies to the gateway's headers too, except for the request id; "*" has
    no meaning in it. A list that was applied to the request already is not applied again.
    """
    always = _always_forwarded(service)
    listed = _names(endpoint.input_headers or UNLISTED) | always
    own = _names(backend.input_headers)
    if own:
        own |= always
    client_address = build_client_address(service)
    forwards_all = b"*" in listed

    def forward(request: Request) -> Headers:
        headers = list(request.headers) if request.passed else listed_of(request)
        if own and request.passed != BACKEND_LISTS:
            return [header for header in headers if header[0] in own]
        return headers

    def listed_of(request: Request) -> Headers:
        host = user_agent = b""
        headers: Headers = []
        for header in request.headers:
            name = header[0]
            if name == b"host":
                host = header[1]
            elif name in ALWAYS:
                if name == b"user-agent" and not user_agent and (forwards_all or name in listed):
                    user_agent = header[1]  # the first, as in KrakenD
            elif forwards_all or name in listed:
                headers.append(header)
        if request.origin is None:  # messages of agents have no client
            headers.append((b"x-forwarded-for", client_address(request).encode()))
            headers.append((b"x-forwarded-host", host))
        if user_agent:
            headers = [header for header in headers if header[0] != VIA]
            headers.append((b"user-agent", user_agent))
            headers.append((VIA, USER_AGENT))
        else:
            headers.append((b"user-agent", USER_AGENT))
        return headers

    return forward


def build_connection_guard(endpoint: Endpoint, service: Service) -> Guard | None:
    """A guard that removes the headers that a client's ``Connection`` names (RFC 9110, 7.6.1).

    It comes before every other guard, so that it never removes headers that the gateway adds (a
    claim, a role, a login). The headers that the gateway reads itself stay: the host and the
    client's address. So does the request id. None: the endpoint does not forward ``Connection``.
    """
    listed = _names(endpoint.input_headers)
    if b"*" not in listed and CONNECTION not in listed:
        return None
    read = {b"host"} | _names(service.router.remote_ip_headers or CLIENT_ADDRESS_HEADERS)
    read |= _always_forwarded(service)

    def guard(request: Request) -> None:
        values = _joined(request.headers, CONNECTION)
        if values:
            named = {token.strip().lower() for token in values.split(b",")} - read
            named.add(CONNECTION)
            request.headers = [header for header in request.headers if header[0] not in named]

    return guard


def build_filter(
    endpoint: Endpoint, service: Service, backend: Backend | None = None
) -> Callable[[Request], Request]:
    """A function that copies a request with the headers and query strings that the lists let
    through.

    For stages that change the request: what they add is forwarded, whatever the lists say.
    """
    forward_headers = build_forward_headers(endpoint, backend or Backend(), service)
    forward_query = build_forward_query(endpoint, backend or Backend())
    passed = ENDPOINT_LISTS if backend is None else BACKEND_LISTS

    def filtered(request: Request) -> Request:
        copy = request.copy()
        headers = forward_headers(request)
        names = {name for name, _ in headers}
        copy.headers = headers
        copy.unlisted = (
            *request.unlisted,
            *(header for header in request.headers if header[0] not in names),
        )
        copy.query_string = forward_query(request).encode() if request.query_string else b""
        copy.passed = max(passed, request.passed)
        return copy

    return filtered


def headers_that_count(
    endpoint: Endpoint, service: Service, replaced: frozenset[bytes] = NO_NAMES
) -> Container[bytes]:
    """The names of the headers that decide what is forwarded, and with which content type.
    ``replaced``: names of headers that are never forwarded as they came."""
    listed = _names(endpoint.input_headers or UNLISTED)
    if b"*" in listed:
        return _EverythingBut(replaced) if replaced else EVERYTHING
    of_client = _names(service.router.remote_ip_headers or CLIENT_ADDRESS_HEADERS)
    return (
        (listed - replaced)
        | of_client
        | _always_forwarded(service)
        | {b"host", b"content-type", b"content-encoding"}
    )


def _always_forwarded(service: Service) -> frozenset[bytes]:
    """The names of the headers that every backend gets, whatever the lists say."""
    return REQUEST_ID_NAMES if service.gateway.request_id else frozenset()


def canonical_name(name: bytes) -> bytes:
    """``x-request-id`` as ``X-Request-Id``, as Go writes it."""
    return b"-".join([part.capitalize() for part in name.split(b"-")])


def build_forward_query(endpoint: Endpoint, backend: Backend) -> ForwardQuery:
    """The query strings that a backend gets: those that both lists name.

    A backend without a list gets those of the endpoint's list; only there "*" has a meaning. Pairs
    with a semicolon or an invalid escape are left out (Go, net/url, ParseQuery).
    """
    listed = _exact(endpoint.input_query_strings)
    own: Container[bytes] = _exact(backend.input_query_strings) or EVERYTHING
    both = own if b"*" in listed else frozenset(name for name in listed if name in own)
    names = {UNFILTERED: both, ENDPOINT_LISTS: own, BACKEND_LISTS: EVERYTHING}

    def forward(request: Request) -> str:
        known = names[request.passed]
        if not known:
            return ""
        pairs = [pair for pair in query_pairs(request.query_string) if pair[0] in known]
        pairs.sort(key=_by_name)
        return "&".join([f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs])

    return forward


def query_pairs(query_string: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and values, decoded, without the pairs that Go leaves out."""
    for pair in query_string.split(b"&"):
        if pair and b";" not in pair and not _BAD_ESCAPE.search(pair):
            name, _, value = pair.partition(b"=")
            yield _unquote(name), _unquote(value)


def _unquote(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


def _by_name(pair: tuple[bytes, bytes]) -> bytes:
    return pair[0]


def build_client_address(service: Service) -> Callable[[Request], str]:
    """The client's address: of the connection, or from the header of a trusted proxy (gin,
    ClientIP).

    Without ``trusted_proxies`` every peer is trusted, as in KrakenD.
    """
    router = service.router
    if not router.forwarded_by_client_ip:
        return _remote
    names = [name.lower().encode() for name in router.remote_ip_headers or CLIENT_ADDRESS_HEADERS]
    is_trusted = _build_trust(router.trusted_proxies or EVERY_NETWORK)

    def client_address(request: Request) -> str:
        values = [value for name in names if (value := _joined(request.headers, name))]
        if values and (remote := _address(_remote(request))) is not None and is_trusted(remote):
            for value in values:
                if (origin := _origin(value.decode("latin-1"), is_trusted)) is not None:
                    return origin
        return _remote(request)

    return client_address


def build_proxy_test(service: Service) -> Callable[[Scope], bool]:
    """Whether the peer is one of ``trusted_proxies``. Without that key every peer is."""
    router = service.router
    if not router.trusted_proxies:
        return lambda scope: True
    is_trusted = _build_trust(router.trusted_proxies)

    def is_proxy(scope: Scope) -> bool:
        address = _address(_mapped((scope.get("client") or ("",))[0]))
        return address is not None and is_trusted(address)

    return is_proxy


def _build_trust(networks: Sequence[str]) -> Callable[[IPv4Address | IPv6Address], bool]:
    trusted = [network for each in networks if (network := network_of(each)) is not None]
    return lambda address: any(address in network for network in trusted)


def network_of(text: str) -> IPv4Network | IPv6Network | None:
    """The network of an address, or of an address with a prefix length; None: it is neither."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _joined(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes:
    """All lines of a header as one list: a proxy may extend the client's line, or add a line."""
    return b",".join([value for each, value in headers if each == name])


def _remote(request: Request) -> str:
    return _mapped(request.remote)


def _mapped(address: str) -> str:
    """An IPv4 address, where a socket for IPv4 and IPv6 shows it as IPv6."""
    return address.removeprefix("::ffff:")


def _origin(value: str, is_trusted: Callable[[IPv4Address | IPv6Address], bool]) -> str | None:
    """The last address of the list that is no trusted proxy, or the first address.

    Also None if the last MAX_PROXIES are trusted and there are more.
    """
    parts = value.rsplit(",", MAX_PROXIES)
    for place in reversed(range(len(parts))):
        text = parts[place].strip()
        address = _address(text)
        if address is None:
            return None
        if place == 0 or not is_trusted(address):
            return text
    return None


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """None if Go does not take it for an address, as one with a zone."""
    if "%" in text or len(text) > MAX_ADDRESS:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address if address.version == 4 else address.ipv4_mapped or address


def _exact(names: Sequence[str]) -> frozenset[bytes]:
    return frozenset(name.encode() for name in names)


def _names(names: Sequence[str]) -> frozenset[bytes]:
    return frozenset(name.lower().encode() for name in names)
