"""What changes a message: a function for each name. Pure but for the ids it makes up."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from urllib.parse import quote, quote_plus
from uuid import uuid4

from msgspec import Struct, field

from ...core.asgi import STATUSES
from ...core.forwarding import query_pairs
from ...http.targets import IN_QUERY
from .cookies import Cookie
from .exchange import Answered, MartianMessage, Sent
from .parse import ModifierPlace, Modifiers

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
DEFAULT_PORTS = {"http": 80, "https": 443}


class Named(Struct, frozen=True, kw_only=True, rename="camel"):
    name: str = ""
    value: str = ""


class Copying(Struct, frozen=True, kw_only=True):
    from_: str = field(name="from", default="")
    to: str = ""


class Names(Struct, frozen=True, kw_only=True):
    names: list[str] = []


class Id(Struct, frozen=True, kw_only=True):
    header: str = ""


class Url(Struct, frozen=True, kw_only=True):
    scheme: str = ""
    host: str = ""
    path: str = ""
    query: str = ""


class Body(Struct, frozen=True, kw_only=True, rename="camel"):
    content_type: str = ""
    body: str = ""


class Status(Struct, frozen=True, kw_only=True, rename="camel"):
    status_code: int = 0


class Stash(Struct, frozen=True, kw_only=True, rename="camel"):
    header_name: str = ""


class Port(Struct, frozen=True, kw_only=True, rename="camel"):
    port: int = 0
    default_for_scheme: bool = False
    remove: bool = False


def header_modifier(place: ModifierPlace) -> Modifiers:
    """Sets a header, in the place of what it was."""
    name, value = _header(place)
    return _both(lambda message: message.set(name, value))


def header_append(place: ModifierPlace) -> Modifiers:
    """One more of that name."""
    name, value = _header(place)
    return _both(lambda message: message.add(name, value))


def header_blacklist(place: ModifierPlace) -> Modifiers:
    """Removes headers."""
    names = [name.lower().encode() for name in place.read(Names).names]

    def remove(message: MartianMessage) -> None:
        for name in names:
            message.remove(name)

    return _both(remove)


def header_copy(place: ModifierPlace) -> Modifiers:
    """One header's first value as another; as empty when there is none."""
    settings = place.read(Copying)
    source = header_name(place, settings.from_, "from")
    target = header_name(place, settings.to, "to")
    return _both(lambda message: message.set(target, message.get(source)))


def header_id(place: ModifierPlace) -> Modifiers:
    """A unique id, unless the request has one."""
    name = header_name(place, place.read(Id).header or "X-Krakend-Id", "header")

    def identify(sent: Sent) -> None:
        if not sent.get(name):
            sent.set(name, str(uuid4()).encode())

    return Modifiers(identify)


def querystring_modifier(place: ModifierPlace) -> Modifiers:
    """Sets one query string; all are encoded anew, sorted by name."""
    settings = place.read(Named)
    name, value = settings.name.encode(), settings.value.encode()

    def modify(sent: Sent) -> None:
        kept = [pair for pair in query_pairs(sent.query.encode()) if pair[0] != name]
        pairs = sorted([*kept, (name, value)], key=lambda pair: pair[0])
        sent.query = "&".join(f"{quote_plus(key)}={quote_plus(each)}" for key, each in pairs)

    return Modifiers(modify)


def url_modifier(place: ModifierPlace) -> Modifiers:
    """Where the request goes. The ``Host`` that it tells stays."""
    settings = place.read(Url)
    if _CONTROLS.search(settings.host + settings.scheme):
        raise place.error("a control character", "host")
    query = quote(settings.query, safe=IN_QUERY)

    def modify(sent: Sent) -> None:
        sent.scheme = settings.scheme or sent.scheme
        sent.authority = settings.host or sent.authority
        if settings.path:
            sent.path = settings.path
        sent.query = query or sent.query

    return Modifiers(modify)


def port_modifier(place: ModifierPlace) -> Modifiers:
    """Which port is asked."""
    settings = place.read(Port)
    if [bool(settings.port), settings.default_for_scheme, settings.remove].count(True) != 1:
        raise place.error("expected one of port, defaultForScheme, remove")
    if not 0 <= settings.port <= 65535:
        raise place.error("expected a port from 1 to 65535", "port")

    def modify(sent: Sent) -> None:
        port = settings.port
        if settings.default_for_scheme:
            port = DEFAULT_PORTS[sent.scheme]
        host, _ = split_port(sent.authority)
        sent.authority = f"{host}:{port}" if port else host

    return Modifiers(modify)


def body_modifier(place: ModifierPlace) -> Modifiers:
    """Another body."""
    settings = place.read(Body)
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
    """Another status."""
    status = place.read(Status).status_code
    if status not in STATUSES:
        raise place.error(f"no status of an answer: {status}", "statusCode")

    def modify(answered: Answered) -> None:
        answered.status = status

    return Modifiers(None, modify)


def stash_modifier(place: ModifierPlace) -> Modifiers:
    """The URL as a header of the request, and of its answer."""
    name = header_name(place, place.read(Stash).header_name, "headerName")
    if place.settings.get("scope") == ["response"]:
        raise place.error("a response has it from its request: expected both", "scope")

    def tell(answered: Answered) -> None:
        answered.set(name, answered.sent.get(name))

    return Modifiers(lambda sent: sent.set(name, sent.url.encode()), tell)


def cookie_modifier(place: ModifierPlace) -> Modifiers:
    """One cookie more."""
    cookie = place.read(Cookie)
    if not _NAME.fullmatch(cookie.name):
        raise place.error(f'not the name of a cookie: "{cookie.name}"', "name")
    pair, line = cookie.pair, cookie.line

    def send(sent: Sent) -> None:
        before = sent.get(b"cookie")
        sent.set(b"cookie", before + b"; " + pair if before else pair)

    return Modifiers(send, lambda answered: answered.add(b"set-cookie", line))


def verifier(place: ModifierPlace) -> Modifiers:
    """Verifiers collect what a test asks for later; nothing asks here, as in KrakenD."""
    return _both(lambda message: None)


def _both(modify: Callable[[MartianMessage], None]) -> Modifiers:
    return Modifiers(modify, modify)


def _header(place: ModifierPlace) -> tuple[bytes, bytes]:
    settings = place.read(Named)
    return header_name(place, settings.name, "name"), header_value(place, settings.value, "value")


def header_name(place: ModifierPlace, name: str, key: str) -> bytes:
    """In lower case. Raises MartianError for what can be none."""
    if not _NAME.fullmatch(name):
        raise place.error(f'not the name of a header: "{name}"', key)
    return name.lower().encode()


def header_value(place: ModifierPlace, value: str, key: str) -> bytes:
    """Raises MartianError for one that would begin a line of its own."""
    if _CONTROLS.search(value):
        raise place.error("a control character", key)
    return value.encode()


def split_port(authority: str) -> tuple[str, str]:
    """Host and port of ``host:port``; an IPv6 address keeps its brackets."""
    host, colon, port = authority.rpartition(":")
    return (host, port) if colon and not port.endswith("]") else (authority, "")
