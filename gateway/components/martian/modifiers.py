"""Modifiers: one function for each name. Pure, except that they make unique ids."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from urllib.parse import quote, quote_plus
from uuid import uuid4

from msgspec import Struct, field

from ...core.asgi import STATUSES, TOKEN
from ...core.forwarding import query_pairs
from ...http.targets import IN_QUERY, PORTS
from .cookies import Cookie
from .messages import MartianMessage, MartianRequest, MartianResponse
from .parse import ModifierPlace, Modifiers

_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class NameAndValue(Struct, frozen=True, kw_only=True, rename="camel"):
    name: str = ""
    value: str = ""


class HeaderCopySettings(Struct, frozen=True, kw_only=True):
    from_: str = field(name="from", default="")
    to: str = ""


class HeaderBlacklistSettings(Struct, frozen=True, kw_only=True):
    names: list[str] = []


class HeaderIdSettings(Struct, frozen=True, kw_only=True):
    header: str = ""


class UrlParts(Struct, frozen=True, kw_only=True):
    scheme: str = ""
    host: str = ""
    path: str = ""
    query: str = ""


class BodySettings(Struct, frozen=True, kw_only=True, rename="camel"):
    content_type: str = ""
    body: str = ""


class StatusSettings(Struct, frozen=True, kw_only=True, rename="camel"):
    status_code: int = 0


class StashSettings(Struct, frozen=True, kw_only=True, rename="camel"):
    header_name: str = ""


class PortSettings(Struct, frozen=True, kw_only=True, rename="camel"):
    port: int = 0
    default_for_scheme: bool = False
    remove: bool = False


def header_modifier(place: ModifierPlace) -> Modifiers:
    """Replace a header."""
    name, value = _header(place)
    return _both(lambda message: message.set(name, value))


def header_append(place: ModifierPlace) -> Modifiers:
    """Add a header, in addition to others of this name."""
    name, value = _header(place)
    return _both(lambda message: message.add(name, value))


def header_blacklist(place: ModifierPlace) -> Modifiers:
    """Remove headers."""
    names = [name.lower().encode() for name in place.read(HeaderBlacklistSettings).names]

    def remove(message: MartianMessage) -> None:
        for name in names:
            message.remove(name)

    return _both(remove)


def header_copy(place: ModifierPlace) -> Modifiers:
    """Set a header to the first value of another one, or to an empty value."""
    settings = place.read(HeaderCopySettings)
    source = header_name(place, settings.from_, "from")
    target = header_name(place, settings.to, "to")
    return _both(lambda message: message.set(target, message.get(source)))


def header_id(place: ModifierPlace) -> Modifiers:
    """Set a header to a unique id, unless the request has it."""
    name = header_name(place, place.read(HeaderIdSettings).header or "X-Krakend-Id", "header")

    def identify(request: MartianRequest) -> None:
        if not request.get(name):
            request.set(name, str(uuid4()).encode())

    return Modifiers(identify)


def querystring_modifier(place: ModifierPlace) -> Modifiers:
    """Set one query parameter; all of them are encoded again, sorted by name."""
    settings = place.read(NameAndValue)
    name, value = settings.name.encode(), settings.value.encode()

    def modify(request: MartianRequest) -> None:
        kept = [pair for pair in query_pairs(request.query.encode()) if pair[0] != name]
        pairs = sorted([*kept, (name, value)], key=lambda pair: pair[0])
        request.query = "&".join(f"{quote_plus(key)}={quote_plus(each)}" for key, each in pairs)

    return Modifiers(modify)


def url_modifier(place: ModifierPlace) -> Modifiers:
    """Change the URL. The ``Host`` header stays."""
    settings = place.read(UrlParts)
    if _CONTROLS.search(settings.host + settings.scheme):
        raise place.error("contains a control character", "host")
    query = quote(settings.query, safe=IN_QUERY)

    def modify(request: MartianRequest) -> None:
        request.scheme = settings.scheme or request.scheme
        request.authority = settings.host or request.authority
        if settings.path:
            request.path = settings.path
        request.query = query or request.query

    return Modifiers(modify)


def port_modifier(place: ModifierPlace) -> Modifiers:
    """Change the port."""
    settings = place.read(PortSettings)
    if [bool(settings.port), settings.default_for_scheme, settings.remove].count(True) != 1:
        raise place.error("expected one of port, defaultForScheme, remove")
    if not 0 <= settings.port <= 65535:
        raise place.error("expected a port from 1 to 65535", "port")

    def modify(request: MartianRequest) -> None:
        port = settings.port
        if settings.default_for_scheme:
            port = PORTS[request.scheme]
        host, _ = split_port(request.authority)
        request.authority = f"{host}:{port}" if port else host

    return Modifiers(modify)


def body_modifier(place: ModifierPlace) -> Modifiers:
    """Replace the body."""
    settings = place.read(BodySettings)
    try:
        body = b64decode(settings.body.replace("\n", "").replace("\r", ""), validate=True)
    except (Base64Error, ValueError) as error:
        raise place.error(f"not Base64: {error}", "body") from error
    content_type = header_value(place, settings.content_type, "contentType")

    def replace(message: MartianMessage) -> None:
        message.remove(b"content-encoding")
        message.remove(b"content-type")
        if content_type:
            message.add(b"content-type", content_type)
        message.body = body

    return _both(replace)


def status_modifier(place: ModifierPlace) -> Modifiers:
    """Replace the status."""
    status = place.read(StatusSettings).status_code
    if status not in STATUSES:
        raise place.error(f"not the status of a response: {status}", "statusCode")

    def modify(response: MartianResponse) -> None:
        response.status = status

    return Modifiers(None, modify)


def stash_modifier(place: ModifierPlace) -> Modifiers:
    """Set a header of the request, and of its response, to the URL."""
    name = header_name(place, place.read(StashSettings).header_name, "headerName")
    if place.settings.get("scope") == ["response"]:
        raise place.error("the response needs the URL of the request: expected both", "scope")

    def copy(response: MartianResponse) -> None:
        response.set(name, response.request.get(name))

    return Modifiers(lambda request: request.set(name, request.url.encode()), copy)


def cookie_modifier(place: ModifierPlace) -> Modifiers:
    """Add a cookie."""
    cookie = place.read(Cookie)
    if not TOKEN.fullmatch(cookie.name):
        raise place.error(f'not the name of a cookie: "{cookie.name}"', "name")
    pair, line = cookie.pair, cookie.line

    def add_to_request(request: MartianRequest) -> None:
        before = request.get(b"cookie")
        request.set(b"cookie", before + b"; " + pair if before else pair)

    return Modifiers(add_to_request, lambda response: response.add(b"set-cookie", line))


def verifier(place: ModifierPlace) -> Modifiers:
    """Verifiers collect results for tests of martian; no effect here, as in KrakenD."""
    return _both(lambda message: None)


def _both(modify: Callable[[MartianMessage], None]) -> Modifiers:
    return Modifiers(modify, modify)


def _header(place: ModifierPlace) -> tuple[bytes, bytes]:
    settings = place.read(NameAndValue)
    return header_name(place, settings.name, "name"), header_value(place, settings.value, "value")


def header_name(place: ModifierPlace, name: str, key: str) -> bytes:
    """In lower case. Raises MartianError for an invalid name."""
    if not TOKEN.fullmatch(name):
        raise place.error(f'not the name of a header: "{name}"', key)
    return name.lower().encode()


def header_value(place: ModifierPlace, value: str, key: str) -> bytes:
    """Raises MartianError for a value with a line break or another control character."""
    if _CONTROLS.search(value):
        raise place.error("contains a control character", key)
    return value.encode()


def split_port(authority: str) -> tuple[str, str]:
    """Host and port of ``host:port``; an IPv6 address keeps its brackets."""
    host, colon, port = authority.rpartition(":")
    return (host, port) if colon and not port.endswith("]") else (authority, "")
