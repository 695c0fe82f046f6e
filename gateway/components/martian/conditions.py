"""What decides whether a modifier runs, and in which order several do. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec import Struct

from ...core.forwarding import query_pairs
from ...core.patterns import PatternError, build_search
from .cookies import sent_cookies, set_cookies
from .exchange import Answered, MartianMessage, Sent
from .modifiers import DEFAULT_PORTS, Named, Url, header_name, split_port
from .parse import ModifierPlace, Modifiers, OnAnswer, OnRequest

SentMatches: TypeAlias = Callable[[Sent], bool]
AnsweredMatches: TypeAlias = Callable[[Answered], bool]


class Regex(Struct, frozen=True, kw_only=True):
    regex: str = ""
    header: str = ""


class AtPort(Struct, frozen=True, kw_only=True):
    port: int = 0


class Group(Struct, frozen=True, kw_only=True):
    modifiers: list[Any] = []


class Prioritised(Struct, frozen=True, kw_only=True):
    modifier: Any = None
    priority: int = 0


def fifo_group(place: ModifierPlace) -> Modifiers:
    """One after the other."""
    documents = place.read(Group).modifiers
    return _group([place.inner(f"modifiers[{at}]", each) for at, each in enumerate(documents)])


def priority_group(place: ModifierPlace) -> Modifiers:
    """The highest priority first; of equal ones the last."""
    ranked: list[tuple[int, Modifiers]] = []
    for at, document in enumerate(place.read(Group).modifiers):
        if not isinstance(document, dict):
            raise place.error("expected an object", f"modifiers[{at}]")
        settings = place._replace(settings=document).read(Prioritised)
        inner = place.inner(f"modifiers[{at}].modifier", settings.modifier)
        ranked.insert(0, (settings.priority, inner))
    ranked.sort(key=lambda each: -each[0])
    return _group([modifiers for _, modifiers in ranked])


def header_filter(place: ModifierPlace) -> Modifiers:
    """A header of the message has that very value."""
    settings = place.read(Named)
    name, value = header_name(place, settings.name, "name"), settings.value.encode()

    def matches(message: MartianMessage) -> bool:
        return value in message.get_all(name)

    return _filter(place, matches, matches)


def header_regex_filter(place: ModifierPlace) -> Modifiers:
    """A header of the request matches."""
    name = header_name(place, place.read(Regex).header, "header")
    search = _search(place)

    def matches(sent: Sent) -> bool:
        value = sent.get(name) if name != b"host" else b""
        return bool(value and search(value.decode("latin-1")))

    return _filter(place, matches, lambda answered: matches(answered.sent), has_else=False)


def url_filter(place: ModifierPlace) -> Modifiers:
    """Every part that is given is the URL's. A host may have ``*`` for a label."""
    wanted = place.read(Url)

    def matches(sent: Sent) -> bool:
        return (
            wanted.scheme in ("", sent.scheme)
            and (not wanted.host or match_host(sent.authority, wanted.host))
            and wanted.path in ("", sent.path)
            and wanted.query in ("", sent.query)
        )

    return _of_request(place, matches)


def url_regex_filter(place: ModifierPlace) -> Modifiers:
    """The URL matches."""
    search = _search(place)
    return _of_request(place, lambda sent: bool(search(sent.url)))


def querystring_filter(place: ModifierPlace) -> Modifiers:
    """There is such a query string; of that value, when one is given."""
    settings = place.read(Named)
    name, value = settings.name.encode(), settings.value.encode()

    def matches(sent: Sent) -> bool:
        pairs = query_pairs(sent.query.encode())
        return any(key == name and value in (b"", each) for key, each in pairs)

    return _of_request(place, matches)


def port_filter(place: ModifierPlace) -> Modifiers:
    """That port is asked."""
    port = place.read(AtPort).port

    def matches(sent: Sent) -> bool:
        _, given = split_port(sent.authority)
        return port == (int(given) if given.isdecimal() else DEFAULT_PORTS.get(sent.scheme))

    return _of_request(place, matches, has_else=False)


def cookie_filter(place: ModifierPlace) -> Modifiers:
    """There is such a cookie; of that value, when one is given."""
    settings = place.read(Named)

    def is_it(pair: tuple[str, str]) -> bool:
        return pair[0] == settings.name and settings.value in ("", pair[1])

    return _filter(
        place,
        lambda sent: any(map(is_it, sent_cookies(sent.get_all(b"cookie")))),
        lambda answered: any(map(is_it, set_cookies(answered.get_all(b"set-cookie")))),
    )


def match_host(host: str, wanted: str) -> bool:
    """``*`` stands for what is between two dots."""
    labels, wanted_labels = host.split("."), wanted.split(".")
    return len(labels) == len(wanted_labels) and all(
        _match_label(label, each) for label, each in zip(labels, wanted_labels, strict=True)
    )


def _match_label(label: str, wanted: str) -> bool:
    before, star, behind = wanted.partition("*")
    if not star:
        return label == wanted
    long_enough = len(label) >= len(before) + len(behind)
    return long_enough and label.startswith(before) and label.endswith(behind)


def _search(place: ModifierPlace) -> Callable[[str], object]:
    try:
        return build_search(place.read(Regex).regex)
    except PatternError as error:
        raise place.error(str(error), "regex") from error


def _of_request(place: ModifierPlace, matches: SentMatches, *, has_else: bool = True) -> Modifiers:
    """The request decides for its answer, too."""
    return _filter(place, matches, lambda answered: matches(answered.sent), has_else=has_else)


def _filter(
    place: ModifierPlace,
    sent_matches: SentMatches,
    answered_matches: AnsweredMatches,
    *,
    has_else: bool = True,
) -> Modifiers:
    inner = place.inner("modifier", place.settings.get("modifier"))
    otherwise = Modifiers()
    if has_else and place.settings.get("else") is not None:
        otherwise = place.inner("else", place.settings["else"])

    def on_request(sent: Sent) -> None:
        chosen = inner.on_request if sent_matches(sent) else otherwise.on_request
        if chosen is not None:
            chosen(sent)

    def on_answer(answered: Answered) -> None:
        chosen = inner.on_answer if answered_matches(answered) else otherwise.on_answer
        if chosen is not None:
            chosen(answered)

    return Modifiers(on_request, on_answer)


def _group(members: list[Modifiers]) -> Modifiers:
    requests: list[OnRequest] = [each.on_request for each in members if each.on_request]
    answers: list[OnAnswer] = [each.on_answer for each in members if each.on_answer]

    def on_request(sent: Sent) -> None:
        for modify in requests:
            modify(sent)

    def on_answer(answered: Answered) -> None:
        for modify in answers:
            modify(answered)

    return Modifiers(on_request, on_answer)
