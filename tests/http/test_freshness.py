"""Which answers are kept, and how long they are good."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.freshness import (
    Stored,
    Use,
    directives,
    may_be_stored,
    may_replace_failure,
    renewed,
    store,
    use_of,
    validators,
    vary,
    with_age,
)
from gateway.http.connection import HttpResponse
from gateway.http.request_head import BackendRequest
from gateway.http.targets import parse_host

Header = tuple[bytes, bytes]

NOON = 1_700_000_000.0
"""The time of day of every answer."""


def header(line: str) -> Header:
    name, _, value = line.partition(":")
    return name.strip().lower().encode(), value.strip().encode()


def asked(*lines: str, method: str = "GET") -> BackendRequest:
    return BackendRequest(
        method, parse_host("http://a.test"), "/b", [header(each) for each in lines], b""
    )


def answer(*lines: str, status: int = 200) -> HttpResponse:
    return HttpResponse(status, [header(each) for each in lines], b"{}")


def kept(*lines: str, delay: float = 0.0) -> Stored:
    return store(answer(*lines), delay, NOON, 0.0)


def wanted(text: str) -> dict[str, str]:
    return dict(directives([(b"cache-control", text.encode())]))


# May it be kept?


@pytest.mark.parametrize(
    "lines",
    [
        ("Cache-Control: max-age=60",),
        ("Cache-Control: s-maxage=60, max-age=0",),
        ("CACHE-CONTROL: PUBLIC, MAX-AGE=60",),
        ("Cache-Control: public", "Cache-Control: max-age=60"),
        (
            f"Expires: {formatdate(NOON + 60, usegmt=True)}",
            f"Date: {formatdate(NOON, usegmt=True)}",
        ),
        ('ETag: "1"',),
        ("Cache-Control: no-cache", 'ETag: "1"'),
        (f"Last-Modified: {formatdate(NOON - 60, usegmt=True)}",),
        ("Cache-Control: max-age=60", "Vary: Accept"),
        ("Cache-Control: max-age=60", "Content-Encoding: gzip", "Vary: Accept-Encoding"),
    ],
)
def test_what_its_backend_allows_may_be_kept(lines: tuple[str, ...]) -> None:
    assert may_be_stored(asked(), answer(*lines))


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Cache-Control: max-age=0",),
        ("Cache-Control: max-age=soon",),
        ("Cache-Control: max-age=60, no-store",),
        ("Cache-Control: private, max-age=60",),
        ('Cache-Control: private="x-me", max-age=60',),
        ("Cache-Control: max-age=60", "Vary: *"),
        ("Cache-Control: max-age=60", "Vary: Accept, *"),
        ("Cache-Control: max-age=60", "Set-Cookie: a=b"),
        ("Cache-Control: max-age=60", "Content-Encoding: gzip"),
        ("Expires: 0",),
        ("Expires: never",),
    ],
)
def test_what_its_backend_does_not_allow_may_not_be_kept(lines: tuple[str, ...]) -> None:
    assert not may_be_stored(asked(), answer(*lines))


@pytest.mark.parametrize("status", [206, 302, 304, 307, 400, 401, 403, 500, 503])
def test_only_some_statuses_may_be_kept(status: int) -> None:
    assert not may_be_stored(asked(), answer("Cache-Control: max-age=60", status=status))


def test_half_an_answer_and_one_from_elsewhere_may_not_be_kept() -> None:
    good = answer("Cache-Control: max-age=60")
    assert may_be_stored(asked(), good)
    assert not may_be_stored(asked(), good._replace(is_whole=False))
    assert not may_be_stored(asked(), good._replace(url="http://b.test/"))
    assert not may_be_stored(asked(method="POST"), good)
    assert not may_be_stored(asked("Cache-Control: no-store"), good)


@pytest.mark.parametrize("personal", ["Authorization: Bearer x", "Cookie: session=1"])
@pytest.mark.parametrize(
    ("control", "is_kept"),
    [
        ("max-age=60", False),
        ("private, max-age=60", False),
        ("public, max-age=60", True),
        ("s-maxage=60", True),
        ("max-age=60, must-revalidate", True),
        ("public, max-age=60, private", False),
    ],
)
def test_an_answer_to_somebody_is_kept_only_if_it_is_for_all(
    personal: str, control: str, is_kept: bool
) -> None:
    assert may_be_stored(asked(personal), answer(f"Cache-Control: {control}")) == is_kept


# How long is it good?


@pytest.mark.parametrize(
    ("lines", "lifetime"),
    [
        (("Cache-Control: max-age=60",), 60),
        (("Cache-Control: max-age=60, s-maxage=10",), 10),
        (("Cache-Control: max-age=60, max-age=5",), 60),
        (('Cache-Control: max-age="60"',), 60),
        (("Cache-Control: max-age=60", "Expires: 0"), 60),
        (("Cache-Control: max-age=-1",), 0),
        (("Cache-Control: max-age=99999999999999999999",), 2**31),
        ((f"Expires: {formatdate(NOON + 90, usegmt=True)}",), 90),
        (("Expires: 0",), 0),
        ((), 0),
    ],
)
def test_its_lifetime_is_what_the_backend_says(lines: tuple[str, ...], lifetime: float) -> None:
    assert kept(*lines).lifetime == lifetime


@pytest.mark.parametrize(
    ("lines", "delay", "age"),
    [
        ((), 0.0, 0),
        (("Age: 30",), 2.0, 32),
        ((f"Date: {formatdate(NOON - 45, usegmt=True)}", "Age: 30"), 0.0, 45),
        ((f"Date: {formatdate(NOON + 45, usegmt=True)}",), 0.0, 0),
        (("Age: x", "Date: y"), 1.0, 1),
    ],
)
def test_its_age_counts_from_where_it_was_made(
    lines: tuple[str, ...], delay: float, age: float
) -> None:
    assert kept(*lines, delay=delay).age_at(0.0) == age
    assert kept(*lines, delay=delay).age_at(5.0) == age + 5


@pytest.mark.parametrize(
    ("control", "now", "want", "use"),
    [
        ("max-age=60", 59, "", Use.FRESH),
        ("max-age=60", 60, "", Use.VALIDATE),
        ("max-age=60, no-cache", 0, "", Use.VALIDATE),
        ("max-age=60", 0, "no-cache", Use.VALIDATE),
        ("max-age=60", 20, "max-age=20", Use.VALIDATE),
        ("max-age=60", 19, "max-age=20", Use.FRESH),
        ("max-age=60", 70, "max-age=100", Use.VALIDATE),
        ("max-age=60", 50, "min-fresh=20", Use.VALIDATE),
        ("max-age=60", 30, "min-fresh=20", Use.FRESH),
        ("max-age=60", 70, "max-stale=20", Use.FRESH),
        ("max-age=60", 90, "max-stale=20", Use.VALIDATE),
        ("max-age=60", 10**6, "max-stale", Use.FRESH),
        ("max-age=60", 70, "max-stale=x", Use.VALIDATE),
        ("max-age=60, must-revalidate", 70, "max-stale", Use.VALIDATE),
        ("s-maxage=60", 70, "max-stale", Use.VALIDATE),
    ],
)
def test_it_is_used_as_both_sides_want(control: str, now: float, want: str, use: Use) -> None:
    assert use_of(kept(f"Cache-Control: {control}"), wanted(want), now) is use


@pytest.mark.parametrize(
    ("control", "now", "want", "may"),
    [
        ("max-age=60", 61, "", False),
        ("max-age=60, stale-if-error=30", 89, "", True),
        ("max-age=60, stale-if-error=30", 90, "", False),
        ("max-age=60", 89, "stale-if-error=30", True),
        ("max-age=60, must-revalidate, stale-if-error=30", 61, "", False),
        ("no-cache, stale-if-error=30", 1, "", False),
    ],
)
def test_it_stands_in_for_a_failure_only_where_that_was_said(
    control: str, now: float, want: str, may: bool
) -> None:
    assert may_replace_failure(kept(f"Cache-Control: {control}"), wanted(want), now) == may


def test_a_backend_is_called_with_the_validators_that_it_sent() -> None:
    both = answer('ETag: "1"', "Last-Modified: yesterday")
    assert validators(both) == [(b"if-none-match", b'"1"'), (b"if-modified-since", b"yesterday")]
    assert validators(answer()) == []


def test_a_304_renews_the_headers_and_nothing_else() -> None:
    old = answer('ETag: "1"', "Age: 9", "Content-Type: a/b", "X-Old: 1", "X-Both: 1")
    told = answer("X-Both: 2", "Content-Type: c/d", "Content-Length: 0", "X-New: 3", status=304)
    assert renewed(old, told) == HttpResponse(
        200,
        [
            header(each)
            for each in ('ETag: "1"', "Content-Type: a/b", "X-Old: 1", "X-Both: 2", "X-New: 3")
        ],
        b"{}",
    )


def test_a_cached_response_has_its_age() -> None:
    assert with_age(kept("Age: 30", "X: 1"), 12.7).headers == [(b"x", b"1"), (b"age", b"42")]


def test_names_that_choose_an_answer_have_one_order() -> None:
    assert vary(answer("Vary: B,a", "Vary: c ,, a")) == ("a", "b", "c")


headers = st.lists(
    st.tuples(
        st.sampled_from([b"cache-control", b"vary", b"date", b"expires", b"age", b"etag", b"x"]),
        st.binary()
        | st.sampled_from([b"max-age=1", b"Mon, 99 Xxx 99999 99:99:99 GMT", b"=,=", b"\xb2"]),
    )
)


@given(headers, headers, st.floats(0, 1e10), st.floats(0, 1e6))
def test_no_answer_can_break_it(
    told: list[Header], want: list[Header], clock: float, now: float
) -> None:
    made = HttpResponse(200, told, b"")
    request = asked()._replace(headers=want)
    may_be_stored(request, made)
    held = store(made, 0.5, clock, 0.0)
    use_of(held, directives(want), now)
    may_replace_failure(held, directives(want), now)
    renewed(made, HttpResponse(304, want, b""))
    with_age(held, now)


@given(headers, st.floats(0, 1e6))
def test_nothing_is_fresh_that_its_backend_gave_no_time(told: list[Header], now: float) -> None:
    held = store(HttpResponse(200, told, b""), 0.0, NOON, 0.0)
    if use_of(held, {}, now) is Use.FRESH:
        assert any(name in (b"cache-control", b"expires") for name, _ in told)
