"""Filters, which decide whether a modifier runs, and groups, which order several. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from ...core.forwarding import query_pairs
from ...core.patterns import PatternError, build_search
from ...http.targets import PORTS
from .cookies import request_cookies, response_cookies
from .messages import MartianMessage, MartianRequest, MartianResponse
from .modifiers import NameAndValue, UrlParts, header_name, split_port
from .parse import ModifierPlace, Modifiers, OnRequest, OnResponse

RequestMatches: TypeAlias = Callable[[MartianRequest], bool]
ResponseMatches: TypeAlias = Callable[[MartianResponse], bool]


class RegexSettings(Struct, frozen=True, kw_only=True):
    regex: str = ""
    header: str = ""


class PortFilterSettings(Struct, frozen=True, kw_only=True):
    port: int = 0


class GroupSettings(Struct, frozen=True, kw_only=True):
    modifiers: list[object] = []


class PrioritySettings(Struct, frozen=True, kw_only=True):
    modifier: object = None
    priority: int = 0


def fifo_group(place: ModifierPlace) -> Modifiers:
    """One after the other."""
    documents = place.read(GroupSettings).modifiers
    return _group(
        [place.inner(f"modifiers[{index}]", each) for index, each in enumerate(documents)]
    )


def priority_group(place: ModifierPlace) -> Modifiers:
    """The highest priority first; of equal ones the last one first."""
    ranked: list[tuple[int, Modifiers]] = []
    for index, document in enumerate(place.read(GroupSettings).modifiers):
        if not isinstance(document, dict):
            raise place.error("expected an object", f"modifiers[{index}]")
        settings = place._replace(settings=document).read(PrioritySettings)
        inner = place.inner(f"modifiers[{index}].modifier", settings.modifier)
        ranked.insert(0, (settings.priority, inner))
    ranked.sort(key=lambda each: -each[0])
    return _group([modifiers for _, modifiers in ranked])


def header_filter(place: ModifierPlace) -> Modifiers:
    """A header of the message has exactly this value."""
    settings = place.read(NameAndValue)
    name, value = header_name(place, settings.name, "name"), settings.value.encode()

    def matches(message: MartianMessage) -> bool:
        return value in message.get_all(name)

    return _filter(place, matches, matches)


def header_regex_filter(place: ModifierPlace) -> Modifiers:
    """The header of the request matches the pattern."""
    name = header_name(place, place.read(RegexSettings).header, "header")
    search = _search(place)

    def matches(request: MartianRequest) -> bool:
        value = request.get(name) if name != b"host" else b""
        return bool(value and search(value.decode("latin-1")))

    return _filter(place, matches, lambda response: matches(response.request), has_else=False)


def url_filter(place: ModifierPlace) -> Modifiers:
    """The URL has every part that is set. In a host ``*`` stands for characters of one label."""
    wanted = place.read(UrlParts)

    def matches(request: MartianRequest) -> bool:
        return (
            wanted.scheme in ("", request.scheme)
            and (not wanted.host or match_host(request.authority, wanted.host))
            and wanted.path in ("", request.path)
            and wanted.query in ("", request.query)
        )

    return _of_request(place, matches)


def url_regex_filter(place: ModifierPlace) -> Modifiers:
    """The URL matches the pattern."""
    search = _search(place)
    return _of_request(place, lambda request: bool(search(request.url)))


def querystring_filter(place: ModifierPlace) -> Modifiers:
    """The query has the parameter, with the value if one is set."""
    settings = place.read(NameAndValue)
    name, value = settings.name.encode(), settings.value.encode()

    def matches(request: MartianRequest) -> bool:
        pairs = query_pairs(request.query.encode())
        return any(key == name and value in (b"", each) for key, each in pairs)

    return _of_request(place, matches)


def port_filter(place: ModifierPlace) -> Modifiers:
    """The request goes to this port."""
    port = place.read(PortFilterSettings).port

    def matches(request: MartianRequest) -> bool:
        _, given = split_port(request.authority)
        return port == (int(given) if given.isdecimal() else PORTS.get(request.scheme))

    return _of_request(place, matches, has_else=False)


def cookie_filter(place: ModifierPlace) -> Modifiers:
    """There is a cookie of this name, with the value if one is set."""
    settings = place.read(NameAndValue)

    def has_value(pair: tuple[str, str]) -> bool:
        return pair[0] == settings.name and settings.value in ("", pair[1])

    return _filter(
        place,
        lambda request: any(map(has_value, request_cookies(request.get_all(b"cookie")))),
        lambda response: any(map(has_value, response_cookies(response.get_all(b"set-cookie")))),
    )


def match_host(host: str, wanted: str) -> bool:
    """``*`` stands for any characters between two dots."""
    labels, wanted_labels = host.split("."), wanted.split(".")
    return len(labels) == len(wanted_labels) and all(
        _match_label(label, each) for label, each in zip(labels, wanted_labels, strict=True)
    )


def _match_label(label: str, wanted: str) -> bool:
    before, star, after = wanted.partition("*")
    if not star:
        return label == wanted
    long_enough = len(label) >= len(before) + len(after)
    return long_enough and label.startswith(before) and label.endswith(after)


def _search(place: ModifierPlace) -> Callable[[str], object]:
    try:
        return build_search(place.read(RegexSettings).regex)
    except PatternError as error:
        raise place.error(str(error), "regex") from error


def _of_request(
    place: ModifierPlace, matches: RequestMatches, *, has_else: bool = True
) -> Modifiers:
    """The request decides for its response, too."""
    return _filter(place, matches, lambda response: matches(response.request), has_else=has_else)


def _filter(
    place: ModifierPlace,
    request_matches: RequestMatches,
    response_matches: ResponseMatches,
    *,
    has_else: bool = True,
) -> Modifiers:
    inner = place.inner("modifier", place.settings.get("modifier"))
    otherwise = Modifiers()
    if has_else and place.settings.get("else") is not None:
        otherwise = place.inner("else", place.settings["else"])

    def on_request(request: MartianRequest) -> None:
        chosen = inner.on_request if request_matches(request) else otherwise.on_request
        if chosen is not None:
            chosen(request)

    def on_response(response: MartianResponse) -> None:
        chosen = inner.on_response if response_matches(response) else otherwise.on_response
        if chosen is not None:
            chosen(response)

    return Modifiers(on_request, on_response)


def _group(members: list[Modifiers]) -> Modifiers:
    requests: list[OnRequest] = [each.on_request for each in members if each.on_request]
    responses: list[OnResponse] = [each.on_response for each in members if each.on_response]

    def on_request(request: MartianRequest) -> None:
        for modify in requests:
            modify(request)

    def on_response(response: MartianResponse) -> None:
        for modify in responses:
            modify(response)

    return Modifiers(on_request, on_response)
