"""``security/cors``: the rules of rs/cors, which KrakenD uses, around the whole application.

The response to a preflight request is made here, whatever its path. A refused preflight has the
same status; the headers that would allow the request are missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from ..config.findings import Finding
from ..config.structs import Service
from ..config.units import parse_duration
from ..core.asgi import (
    AddedHeaders,
    AsgiResponse,
    Headers,
    Scope,
    find_header,
    header_value,
)
from ..core.component import Assembly, Component, Place
from ..core.families import settings_of
from ..core.forwarding import canonical_name
from ..core.layers import Decision, Layer
from ..core.rule import Rule, where_root_lacks
from ..telemetry.logs import get_logger

log = get_logger("gateway.router")

SIMPLE_METHODS = ("GET", "POST", "HEAD")
NO_CONTENT = 204
MAX_EMPTY_NAMES = 16
"""Empty names that a list of headers may have (RFC 9110, 5.6.1; the number is that of rs/cors)."""

ORIGIN = b"origin"
REQUESTED_METHOD = b"access-control-request-method"
REQUESTED_HEADERS = b"access-control-request-headers"
REQUESTED_NETWORK = b"access-control-request-private-network"
VARY_ORIGIN = (b"vary", b"Origin")
ANY_ORIGIN = (b"access-control-allow-origin", b"*")
CREDENTIALS = (b"access-control-allow-credentials", b"true")
PRIVATE_NETWORK = (b"access-control-allow-private-network", b"true")
REPLACED = frozenset(
    (
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-expose-headers",
    )
)
"""Headers of a backend that the gateway's own replace."""

_ORIGIN = re.compile(r"[a-z][a-z\d+.*-]*://[^/?#\s]+|\*[^/?#\s]*|null", re.IGNORECASE)
"""An origin as a browser sends it, or with a "*"."""


class CorsSettings(Struct, frozen=True, kw_only=True):
    allow_origins: tuple[str, ...] = ()
    """Origins that may use the service, as ``scheme://host:port``. One ``*`` in an entry stands for
    any characters. Absent, or with an entry ``"*"``: every origin."""
    allow_methods: tuple[str, ...] = ()
    """HTTP methods that are allowed, in capitals. Absent: GET, POST and HEAD. OPTIONS is always
    allowed."""
    allow_headers: tuple[str, ...] = ()
    """Request headers that are allowed. Absent, or with an entry ``"*"``: every header."""
    expose_headers: tuple[str, ...] = ()
    """Response headers that scripts in a browser may read, in addition to those that browsers
    always expose."""
    allow_credentials: bool = False
    """Whether a browser may send cookies and logins. Browsers refuse this for every origin."""
    allow_private_network: bool = False
    """Whether a public site may request this service in a private network."""
    options_passthrough: bool = False
    """Whether a preflight request goes on to the router, which makes the response."""
    options_success_status: int = 0
    """The status of a preflight response, 200 to 599. 0 or another number: 204."""
    max_age: str = ""
    """How long a browser may cache a preflight response, as a duration such as ``"12h"``. Absent, 0
    or not a duration: the browser decides. Negative: it must not cache."""
    debug: bool = False
    """Whether the log says why a preflight request was refused."""


class Policy:
    """What each origin is allowed to do, prepared once. Pure."""

    def __init__(self, settings: CorsSettings) -> None:
        self.is_for_every_origin = not settings.allow_origins or "*" in settings.allow_origins
        self._is_origin = build_origin_test(settings.allow_origins)
        methods = settings.allow_methods or SIMPLE_METHODS
        self._methods = frozenset((*(name.encode() for name in methods), b"OPTIONS"))
        names = settings.allow_headers
        self._any_header = not names or "*" in names
        self._names = sorted({name.lower().encode() for name in names})
        self._private_network = settings.allow_private_network
        vary = [ORIGIN, REQUESTED_METHOD, REQUESTED_HEADERS]
        if settings.allow_private_network:
            vary.append(REQUESTED_NETWORK)
        self._preflight_vary = (b"vary", b", ".join(each.title() for each in vary))
        credentials = (CREDENTIALS,) if settings.allow_credentials else ()
        self._preflight_headers = (*credentials, *_max_age(settings.max_age))
        self._response_headers = (*_exposed(settings.expose_headers), *credentials)
        self._every_origin_headers = (VARY_ORIGIN, ANY_ORIGIN, *self._response_headers)

    def response_headers(self, method: str, origin: bytes) -> Headers:
        """The headers of a response for ``origin``, which is empty when the request has none."""
        if not origin or method.encode() not in self._methods or not self._is_origin(origin):
            return (VARY_ORIGIN,)
        if self.is_for_every_origin:
            return self._every_origin_headers
        return [VARY_ORIGIN, (ANY_ORIGIN[0], origin), *self._response_headers]

    def preflight(self, headers: Headers) -> tuple[list[tuple[bytes, bytes]], str]:
        """The headers of a preflight response, and why it is refused; empty: it is allowed."""
        added = [self._preflight_vary]
        origin, method = find_header(headers, ORIGIN), find_header(headers, REQUESTED_METHOD)
        wanted = [value for name, value in headers if name == REQUESTED_HEADERS]
        if not origin or not self._is_origin(origin):
            return added, "origin"
        if method not in self._methods:
            return added, "method"
        if not self._any_header and not are_names_of(self._names, wanted):
            return added, "headers"
        added.append(ANY_ORIGIN if self.is_for_every_origin else (ANY_ORIGIN[0], origin))
        added.append((b"access-control-allow-methods", method))
        if wanted and wanted[0]:
            added += [(b"access-control-allow-headers", each) for each in wanted]
        if self._private_network and find_header(headers, REQUESTED_NETWORK) == b"true":
            added.append(PRIVATE_NETWORK)
        return [*added, *self._preflight_headers], ""


def build_cors(settings: CorsSettings, service: Service, assembly: Assembly) -> Layer:
    """The layer. It is outside of the router, as in KrakenD."""
    policy = Policy(settings)
    status = success_status(settings)
    passes_on = settings.options_passthrough

    def decide(scope: Scope) -> Decision:
        requested, method = scope["headers"], scope["method"]
        if method != "OPTIONS" or not find_header(requested, REQUESTED_METHOD):
            headers = policy.response_headers(method, find_header(requested, ORIGIN))
            return AddedHeaders(headers, REPLACED)
        added, refused = policy.preflight(requested)
        if refused and settings.debug:
            origin = find_header(requested, ORIGIN)
            log.info("CORS: a preflight request of %r is refused for its %s", origin, refused)
        return AddedHeaders(added, REPLACED) if passes_on else AsgiResponse(status, added)

    return Layer(decide)


def success_status(settings: CorsSettings) -> int:
    """The status of a preflight response; the default where the setting is not a final status."""
    status = settings.options_success_status
    return status if 200 <= status <= 599 else NO_CONTENT


def build_origin_test(allowed: Sequence[str]) -> Callable[[bytes], bool]:
    """A test whether an origin is allowed, in any case; one "*" stands for any or no characters."""
    if not allowed or "*" in allowed:
        return lambda origin: True
    lower = [each.lower().encode() for each in allowed]
    exact = frozenset(each for each in lower if b"*" not in each)
    parts = [each.partition(b"*") for each in lower if b"*" in each]
    around = [(before, after, len(before) + len(after)) for before, _, after in parts]

    def is_allowed(origin: bytes) -> bool:
        origin = origin.lower()
        return origin in exact or any(
            len(origin) >= shortest and origin.startswith(before) and origin.endswith(after)
            for before, after, shortest in around
        )

    return is_allowed


def are_names_of(allowed: Sequence[bytes], values: Sequence[bytes]) -> bool:
    """Whether all names are allowed, as browsers write them: in lower case, sorted, each once.

    A name may have one space or tab on either side (rs/cors, SortedSet). ``allowed``: sorted.
    """
    positions = {name: position for position, name in enumerate(allowed)}
    last = -1
    empty = 0
    for value in values:
        for part in value.split(b","):
            name = _without_blank(part)
            if not name:
                empty += 1
                if empty > MAX_EMPTY_NAMES:
                    return False
                continue
            position = positions.get(name, -1)
            if position <= last:
                return False
            last = position
    return True


def _without_blank(part: bytes) -> bytes:
    """Without one space or tab on either side. With more of them it is not an allowed name."""
    if part.startswith((b" ", b"\t")):
        part = part[1:]
    return part[:-1] if part.endswith((b" ", b"\t")) else part


def seconds(max_age: str) -> int | None:
    """The seconds of a duration; None: it is not a duration."""
    try:
        return int(parse_duration(max_age))
    except ValueError:
        return None


def _max_age(text: str) -> Headers:
    age = seconds(text)
    return [(b"access-control-max-age", b"%d" % max(age, 0))] if age else []


def _exposed(names: Sequence[str]) -> Headers:
    canonical = b", ".join(canonical_name(header_value(name)) for name in names)
    return [(b"access-control-expose-headers", canonical)] if names else []


def findings(settings: CorsSettings, place: Place) -> Iterator[Finding]:
    return place.warnings(_traps(settings, place.service))


def _traps(settings: CorsSettings, service: Service) -> Iterator[tuple[str, str]]:
    if settings.allow_credentials and (not settings.allow_origins or "*" in settings.allow_origins):
        yield (
            "allow_credentials",
            "browsers refuse it for every origin: list the origins in allow_origins",
        )
    for index, origin in enumerate(settings.allow_origins):
        if not _ORIGIN.fullmatch(origin):
            text = f'no browser sends "{origin}": an origin has a scheme, a host and maybe a port'
            yield f"allow_origins[{index}]", text
    methods = settings.allow_methods or SIMPLE_METHODS
    for index, method in enumerate(settings.allow_methods):
        if method != method.upper():
            text = f'methods are in capitals: no browser requests "{method}"'
            yield f"allow_methods[{index}]", text
    used = {endpoint.method for endpoint in service.endpoints}
    if left_out := sorted(used - set(methods)):
        yield (
            "allow_methods",
            f"endpoints have methods that are missing here: {', '.join(left_out)}",
        )
    if settings.max_age and seconds(settings.max_age) is None:
        yield "max_age", 'expected a duration such as "12h": ignored'
    if settings.options_success_status not in (0, success_status(settings)):
        yield (
            "options_success_status",
            "is not a status from 200 to 599: preflight responses have 204",
        )


def _is_open(service: Service) -> Iterator[str]:
    settings = settings_of(service, CorsSettings)
    if settings is None or not settings.allow_credentials:
        return
    if not settings.allow_origins or "*" in settings.allow_origins:
        yield '$.extra_config["security/cors"]'


ADVICE = (
    Rule("2.2.2", "HIGH", "Configure CORS (security/cors).", where_root_lacks(CorsSettings)),
    Rule(
        "9.1.1",
        "HIGH",
        "CORS with credentials for every origin: any site can act as your users.",
        _is_open,
    ),
)

COMPONENT = Component(
    "security/cors",
    CorsSettings,
    aliases=("github_com/devopsfaith/krakend-cors",),
    layer=build_cors,
    findings=findings,
    advice=ADVICE,
)
