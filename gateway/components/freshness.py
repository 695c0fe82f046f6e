"""Which responses may be stored, for which requests, and how long: RFC 9111, shared cache. Pure.

There is no heuristic freshness: a response is fresh as long as its backend says (``s-maxage``,
``max-age``, ``Expires``), then it is validated with the backend.
"""

from __future__ import annotations

from calendar import timegm
from collections.abc import Mapping
from email.utils import parsedate
from enum import Enum
from typing import NamedTuple, TypeAlias

from ..core.asgi import find_header
from ..http.connection import Headers, HttpResponse
from ..http.request_head import BackendRequest
from ..http.responses import HOP_BY_HOP

STORABLE = (200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501)
"""Statuses that may be stored (RFC 9110, 15.1), without 206."""

CONDITIONS = (
    *(b"range", b"if-range", b"if-match", b"if-none-match"),
    *(b"if-modified-since", b"if-unmodified-since"),
)
"""Request headers that bypass the cache."""

PERSONAL = (b"authorization", b"cookie")
"""Headers that make a request personal."""

MAX_AGE = 2**31
"""The highest number of seconds; a higher one counts as this one (RFC 9111, 1.2.2)."""

NOT_RENEWED = HOP_BY_HOP | {b"content-encoding", b"content-range", b"content-type"}
"""Headers of a 304 that do not update the stored response."""

Directives: TypeAlias = Mapping[str, str]
"""Directives of ``Cache-Control``: name in lower case, value without quotes or empty."""


class Stored(NamedTuple):
    """A stored response, and what its freshness depends on. All times in seconds.

    ``since``: when it arrived, on a monotonic clock; ``age``: its age at that time. ``lifetime``:
    the age until which it is fresh.
    """

    response: HttpResponse
    directives: Directives
    age: float
    since: float
    lifetime: float

    def age_at(self, now: float) -> float:
        return self.age + now - self.since


class Use(Enum):
    """What may be done with a stored response."""

    FRESH = "use it"
    VALIDATE = "validate it with the backend"


def directives(headers: Headers) -> Directives:
    """The directives of all ``Cache-Control`` headers; of a repeated name the first one counts."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name == b"cache-control":
            for part in value.decode("latin-1").split(","):
                key, _, argument = part.partition("=")
                found.setdefault(key.strip().lower(), argument.strip().strip('"'))
    found.pop("", None)
    return found


def may_be_stored(outgoing: BackendRequest, response: HttpResponse) -> bool:
    """Whether other clients may get this response too.

    Stricter than the RFC: not stored are responses after a redirect, responses that set a cookie,
    and compressed responses without ``Vary: Accept-Encoding``. ``Cookie`` makes a request personal,
    as ``Authorization`` does.
    """
    own = directives(response.headers)
    return (
        outgoing.method == "GET"
        and response.status in STORABLE
        and response.is_whole
        and not response.url
        and "no-store" not in own
        and "private" not in own
        and "no-store" not in directives(outgoing.headers)
        and not find_header(response.headers, b"set-cookie")
        and "*" not in (names := vary(response))
        and (not find_header(response.headers, b"content-encoding") or "accept-encoding" in names)
        and (not any(name in PERSONAL for name, _ in outgoing.headers) or _is_public(own))
        and _is_of_use(response, own)
    )


def _is_public(own: Directives) -> bool:
    """For all clients although the request was personal (RFC 9111, 3.5)."""
    return "public" in own or "s-maxage" in own or "must-revalidate" in own


def _is_of_use(response: HttpResponse, own: Directives) -> bool:
    return _lifetime(response, own, 0.0) > 0 or bool(validators(response))


def vary(response: HttpResponse) -> tuple[str, ...]:
    """The names of the request headers that select this response, in lower case."""
    names = {
        part.strip().lower()
        for name, value in response.headers
        if name == b"vary"
        for part in value.decode("latin-1").split(",")
    }
    return tuple(sorted(names - {""}))


def store(response: HttpResponse, delay: float, wall_clock: float, now: float) -> Stored:
    """``delay``: between request and response; ``now``: of the monotonic clock. In seconds."""
    own = directives(response.headers)
    date = _date(find_header(response.headers, b"date"))
    apparent = 0.0 if date is None else max(0.0, wall_clock - date)
    reported = _seconds(find_header(response.headers, b"age").decode("latin-1")) or 0.0
    age = max(apparent, reported + delay)
    return Stored(response, own, age, now, _lifetime(response, own, wall_clock))


def _lifetime(response: HttpResponse, own: Directives, wall_clock: float) -> float:
    for name in ("s-maxage", "max-age"):
        if name in own:
            return _seconds(own[name]) or 0.0
    expires = _date(find_header(response.headers, b"expires"))
    if expires is None:
        return 0.0
    date = _date(find_header(response.headers, b"date"))
    return max(0.0, expires - (wall_clock if date is None else date))


def use_of(stored: Stored, requested: Directives, now: float) -> Use:
    """``requested``: the directives of the request."""
    if "no-cache" in stored.directives or "no-cache" in requested:
        return Use.VALIDATE
    age, lifetime = stored.age_at(now), stored.lifetime
    if "max-age" in requested:
        lifetime = min(lifetime, _seconds(requested["max-age"]) or 0.0)
    lifetime -= _seconds(requested.get("min-fresh", "")) or 0.0
    if age < lifetime:
        return Use.FRESH
    if "max-stale" in requested and not _must_be_validated(stored):
        max_stale = _seconds(requested["max-stale"]) if requested["max-stale"] else MAX_AGE
        return Use.FRESH if age < lifetime + (max_stale or 0.0) else Use.VALIDATE
    return Use.VALIDATE


def _must_be_validated(stored: Stored) -> bool:
    """When it is stale (RFC 9111, 4.2.4)."""
    never_stale = ("must-revalidate", "proxy-revalidate", "s-maxage", "no-cache")
    return any(name in stored.directives for name in never_stale)


def may_replace_failure(stored: Stored, requested: Directives, now: float) -> bool:
    """Whether it may be the response because its backend fails (RFC 5861, 4)."""
    allowed = [
        each["stale-if-error"]
        for each in (stored.directives, requested)
        if "stale-if-error" in each
    ]
    if not allowed or _must_be_validated(stored):
        return False
    return stored.age_at(now) < stored.lifetime + max(_seconds(each) or 0.0 for each in allowed)


def validators(response: HttpResponse) -> list[tuple[bytes, bytes]]:
    """Request headers with which a backend responds 304 if the response has not changed."""
    conditions = ((b"etag", b"if-none-match"), (b"last-modified", b"if-modified-since"))
    return [
        (condition, value)
        for name, condition in conditions
        if (value := find_header(response.headers, name))
    ]


def renewed(response: HttpResponse, not_modified: HttpResponse) -> HttpResponse:
    """The stored response, updated by the headers of a 304."""
    new = [header for header in not_modified.headers if header[0] not in NOT_RENEWED]
    names = {name for name, _ in new}
    headers = [header for header in response.headers if header[0] not in names]
    if b"age" not in names:
        headers = [header for header in headers if header[0] != b"age"]
    return response._replace(headers=[*headers, *new])


def with_age(stored: Stored, now: float) -> HttpResponse:
    """The stored response with the header ``Age`` (RFC 9111, 5.1)."""
    headers = [header for header in stored.response.headers if header[0] != b"age"]
    return stored.response._replace(headers=[*headers, (b"age", b"%d" % stored.age_at(now))])


def _seconds(text: str) -> float | None:
    if not (text.isascii() and text.isdecimal()):
        return None
    return float(min(int(text), MAX_AGE)) if len(text) < 12 else float(MAX_AGE)


def _date(value: bytes) -> float | None:
    """Seconds since 1970 of an HTTP date; None: it is not a date."""
    try:
        parts = parsedate(value.decode("latin-1"))
        return None if parts is None else float(timegm(parts))
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
