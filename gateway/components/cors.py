"""``security/cors``: the rules of rs/cors, which KrakenD uses, around the whole application.

A preflight is answered here, whatever its path. One that is refused says so by what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from ..config.findings import Finding
from ..config.structs import Service
from ..config.units import parse_duration
from ..core.asgi import (
    ASGIApp,
    AsgiResponse,
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
from ..core.families import settings_of
from ..core.forwarding import canonical_name
from ..core.rule import Rule, where_root_lacks
from ..telemetry.logs import get_logger

log = get_logger("gateway.router")

SIMPLE_METHODS = ("GET", "POST", "HEAD")
NO_CONTENT = 204
MAX_EMPTY_NAMES = 16
"""Empty names that a list of headers may have (RFC 9110, 5.6.1; the number is rs/cors')."""

ORIGIN = b"origin"
WANTED_METHOD = b"access-control-request-method"
WANTED_HEADERS = b"access-control-request-headers"
WANTED_NETWORK = b"access-control-request-private-network"
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
"""What a backend says of them counts no more, once the gateway has said it."""

_ORIGIN = re.compile(r"[a-z][a-z\d+.*-]*://[^/?#\s]+|\*[^/?#\s]*|null", re.IGNORECASE)
"""As a browser writes it, but for a "*"."""


class CorsSettings(Struct, frozen=True, kw_only=True):
    """KrakenD's names; empty lists mean every origin, every header, :data:`SIMPLE_METHODS`.

    ``max_age``: a duration; none is said when it is none. ``debug``: the log says why a preflight
    was refused.
    """

    allow_origins: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    allow_private_network: bool = False
    options_passthrough: bool = False
    options_success_status: int = 0
    max_age: str = ""
    debug: bool = False


class Policy:
    """Who may do what, decided once. Pure."""

    def __init__(self, settings: CorsSettings) -> None:
        self.is_for_all = not settings.allow_origins or "*" in settings.allow_origins
        self._is_origin = build_origin_test(settings.allow_origins)
        methods = settings.allow_methods or SIMPLE_METHODS
        self._methods = frozenset((*(name.encode() for name in methods), b"OPTIONS"))
        names = settings.allow_headers
        self._any_header = not names or "*" in names
        self._names = sorted({name.lower().encode() for name in names})
        self._private_network = settings.allow_private_network
        vary = [ORIGIN, WANTED_METHOD, WANTED_HEADERS]
        if settings.allow_private_network:
            vary.append(WANTED_NETWORK)
        self._preflight_vary = (b"vary", b", ".join(each.title() for each in vary))
        credentials = (CREDENTIALS,) if settings.allow_credentials else ()
        self._of_preflight = (*credentials, *_max_age(settings.max_age))
        self._of_answer = (*_exposed(settings.expose_headers), *credentials)
        self._for_all = (VARY_ORIGIN, ANY_ORIGIN, *self._of_answer)

    def answer(self, method: str, origin: bytes) -> Headers:
        """The headers of what is answered to ``origin``; without an origin it is empty."""
        if not origin or method.encode() not in self._methods or not self._is_origin(origin):
            return (VARY_ORIGIN,)
        if self.is_for_all:
            return self._for_all
        return [VARY_ORIGIN, (ANY_ORIGIN[0], origin), *self._of_answer]

    def preflight(self, headers: Headers) -> tuple[list[tuple[bytes, bytes]], str]:
        """The headers of the answer to a preflight, and why it is refused, else empty."""
        answered = [self._preflight_vary]
        origin, method = header(headers, ORIGIN), header(headers, WANTED_METHOD)
        wanted = [value for name, value in headers if name == WANTED_HEADERS]
        if not origin or not self._is_origin(origin):
            return answered, "origin"
        if method not in self._methods:
            return answered, "method"
        if not self._any_header and not are_names_of(self._names, wanted):
            return answered, "headers"
        answered.append(ANY_ORIGIN if self.is_for_all else (ANY_ORIGIN[0], origin))
        answered.append((b"access-control-allow-methods", method))
        if wanted and wanted[0]:
            answered += [(b"access-control-allow-headers", each) for each in wanted]
        if self._private_network and header(headers, WANTED_NETWORK) == b"true":
            answered.append(PRIVATE_NETWORK)
        return [*answered, *self._of_preflight], ""


def build_cors(
    settings: CorsSettings, service: Service, assembly: Assembly
) -> Callable[[ASGIApp], ASGIApp]:
    """The layer: KrakenD's stands before the router too."""
    policy = Policy(settings)
    status = success_status(settings)
    passes_on = settings.options_passthrough

    def layer(app: ASGIApp) -> ASGIApp:
        async def cors(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            asked, method = scope["headers"], scope["method"]
            if method != "OPTIONS" or not header(asked, WANTED_METHOD):
                headers = policy.answer(method, header(asked, ORIGIN))
                await app(scope, receive, with_headers(send, headers, REPLACED))
                return
            answered, refused = policy.preflight(asked)
            if refused and settings.debug:
                origin = header(asked, ORIGIN)
                log.info("CORS: a preflight of %r is refused for its %s", origin, refused)
            if passes_on:
                await app(scope, receive, with_headers(send, answered, REPLACED))
            else:
                await send_answer(send, AsgiResponse(status, answered))

        return cors

    return layer


def success_status(settings: CorsSettings) -> int:
    """Of a preflight; what is no status of a whole answer means the default."""
    status = settings.options_success_status
    return status if 200 <= status <= 599 else NO_CONTENT


def build_origin_test(allowed: Sequence[str]) -> Callable[[bytes], bool]:
    """Whether an origin is allowed, in whatever case; one "*" stands for any text, also none."""
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

    One blank around a name is fine (rs/cors, SortedSet). ``allowed``: sorted.
    """
    places = {name: place for place, name in enumerate(allowed)}
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
            place = places.get(name, -1)
            if place <= last:
                return False
            last = place
    return True


def _without_blank(part: bytes) -> bytes:
    """Without one blank on either side; further ones stay, and no name has them."""
    if part.startswith((b" ", b"\t")):
        part = part[1:]
    return part[:-1] if part.endswith((b" ", b"\t")) else part


def seconds(max_age: str) -> int | None:
    """Of a duration; None: it is none. A negative one is 0: nothing may be kept."""
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
