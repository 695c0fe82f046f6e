"""Which answers may be kept, for whom, and for how long: RFC 9111, for a shared cache. Pure.

No answer is guessed to be fresh: its backend says so (``s-maxage``, ``max-age``, ``Expires``), or
is asked again.
"""

from __future__ import annotations

from calendar import timegm
from collections.abc import Mapping
from email.utils import parsedate
from enum import Enum
from typing import NamedTuple, TypeAlias

from ..http.connection import Headers, HttpResponse
from ..http.request_head import BackendRequest
from ..http.responses import HOP_BY_HOP, find

KEPT = (200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501)
"""Statuses that may be kept (RFC 9110, 15.1), but for the partial one."""

CONDITIONS = (
    *(b"range", b"if-range", b"if-match", b"if-none-match"),
    *(b"if-modified-since", b"if-unmodified-since"),
)
"""Who sends one of them talks to the backend itself."""

PERSONAL = (b"authorization", b"cookie")
"""Headers that make a request somebody's own."""

MAX_AGE = 2**31
"""Seconds; more is as good as this (RFC 9111, 1.2.2)."""

NOT_RENEWED = HOP_BY_HOP | {b"content-encoding", b"content-range", b"content-type"}
"""Headers of a 304 that say nothing of the answer that is kept."""

Directives: TypeAlias = Mapping[str, str]
"""Of ``Cache-Control``, in lower case: value without quotes, or empty."""


class Kept(NamedTuple):
    """An answer and what decides about its use. Times in seconds.

    ``age``: when it came, at ``since`` of a clock that only goes forward. ``lifetime``: the age
    until which it is fresh.
    """

    answer: HttpResponse
    directives: Directives
    age: float
    since: float
    lifetime: float

    def age_at(self, now: float) -> float:
        return self.age + now - self.since


class Use(Enum):
    """What may be done with an answer that was kept."""

    FRESH = "answer with it"
    ASK = "ask whether it still holds"


def directives(headers: Headers) -> Directives:
    """What all ``Cache-Control`` headers say; of a name that comes twice the first counts."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name == b"cache-control":
            for part in value.decode("latin-1").split(","):
                key, _, argument = part.partition("=")
                found.setdefault(key.strip().lower(), argument.strip().strip('"'))
    found.pop("", None)
    return found


def may_be_kept(outgoing: BackendRequest, answer: HttpResponse) -> bool:
    """Whether others may get this answer, too.

    Stricter than the RFC: what a redirect has led to, what sets a cookie and what is packed for
    whoever asked is not kept; and a cookie makes a request somebody's, as ``Authorization`` does.
    """
    said = directives(answer.headers)
    return (
        outgoing.method == "GET"
        and answer.status in KEPT
        and answer.is_whole
        and not answer.url
        and "no-store" not in said
        and "private" not in said
        and "no-store" not in directives(outgoing.headers)
        and not find(answer.headers, b"set-cookie")
        and "*" not in (names := vary(answer))
        and (not find(answer.headers, b"content-encoding") or "accept-encoding" in names)
        and (not any(name in PERSONAL for name, _ in outgoing.headers) or _is_for_all(said))
        and _is_of_use(answer, said)
    )


def _is_for_all(said: Directives) -> bool:
    """Although the request was somebody's (RFC 9111, 3.5)."""
    return "public" in said or "s-maxage" in said or "must-revalidate" in said


def _is_of_use(answer: HttpResponse, said: Directives) -> bool:
    return _lifetime(answer, said, 0.0) > 0 or bool(validators(answer))


def vary(answer: HttpResponse) -> tuple[str, ...]:
    """The names of the request's headers that chose this answer, in lower case."""
    names = {
        part.strip().lower()
        for name, value in answer.headers
        if name == b"vary"
        for part in value.decode("latin-1").split(",")
    }
    return tuple(sorted(names - {""}))


def keep(answer: HttpResponse, delay: float, clock: float, now: float) -> Kept:
    """``delay``: how long it took to come; ``clock``: the time of day, ``now``: the steady one."""
    said = directives(answer.headers)
    date = _date(find(answer.headers, b"date"))
    apparent = 0.0 if date is None else max(0.0, clock - date)
    told = _seconds(find(answer.headers, b"age").decode("latin-1")) or 0.0
    age = max(apparent, told + delay)
    return Kept(answer, said, age, now, _lifetime(answer, said, clock))


def _lifetime(answer: HttpResponse, said: Directives, clock: float) -> float:
    for name in ("s-maxage", "max-age"):
        if name in said:
            return _seconds(said[name]) or 0.0
    expires = _date(find(answer.headers, b"expires"))
    if expires is None:
        return 0.0
    date = _date(find(answer.headers, b"date"))
    return max(0.0, expires - (clock if date is None else date))


def use_of(kept: Kept, wanted: Directives, now: float) -> Use:
    """``wanted``: of the request."""
    if "no-cache" in kept.directives or "no-cache" in wanted:
        return Use.ASK
    age, lifetime = kept.age_at(now), kept.lifetime
    if "max-age" in wanted:
        lifetime = min(lifetime, _seconds(wanted["max-age"]) or 0.0)
    lifetime -= _seconds(wanted.get("min-fresh", "")) or 0.0
    if age < lifetime:
        return Use.FRESH
    if "max-stale" in wanted and not _must_be_asked(kept):
        most = _seconds(wanted["max-stale"]) if wanted["max-stale"] else MAX_AGE
        return Use.FRESH if age < lifetime + (most or 0.0) else Use.ASK
    return Use.ASK


def _must_be_asked(kept: Kept) -> bool:
    """Once it is stale (RFC 9111, 4.2.4)."""
    never_stale = ("must-revalidate", "proxy-revalidate", "s-maxage", "no-cache")
    return any(name in kept.directives for name in never_stale)


def may_stand_in(kept: Kept, wanted: Directives, now: float) -> bool:
    """Whether it may be the answer because its backend fails (RFC 5861, 4)."""
    told = [
        said["stale-if-error"] for said in (kept.directives, wanted) if "stale-if-error" in said
    ]
    if not told or _must_be_asked(kept):
        return False
    return kept.age_at(now) < kept.lifetime + max(_seconds(each) or 0.0 for each in told)


def validators(answer: HttpResponse) -> list[tuple[bytes, bytes]]:
    """The conditions under which a backend answers that nothing has changed."""
    conditions = ((b"etag", b"if-none-match"), (b"last-modified", b"if-modified-since"))
    return [
        (condition, value)
        for name, condition in conditions
        if (value := find(answer.headers, name))
    ]


def renewed(answer: HttpResponse, told: HttpResponse) -> HttpResponse:
    """The answer that is kept, with what a 304 says anew."""
    news = [header for header in told.headers if header[0] not in NOT_RENEWED]
    names = {name for name, _ in news}
    headers = [header for header in answer.headers if header[0] not in names]
    if b"age" not in names:
        headers = [header for header in headers if header[0] != b"age"]
    return answer._replace(headers=[*headers, *news])


def with_age(kept: Kept, now: float) -> HttpResponse:
    """As it is given away (RFC 9111, 5.1)."""
    headers = [header for header in kept.answer.headers if header[0] != b"age"]
    return kept.answer._replace(headers=[*headers, (b"age", b"%d" % kept.age_at(now))])


def _seconds(text: str) -> float | None:
    if not (text.isascii() and text.isdecimal()):
        return None
    return float(min(int(text), MAX_AGE)) if len(text) < 12 else float(MAX_AGE)


def _date(value: bytes) -> float | None:
    """Seconds since 1970 of an HTTP date; None when it is none."""
    try:
        parts = parsedate(value.decode("latin-1"))
        return None if parts is None else float(timegm(parts))
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
