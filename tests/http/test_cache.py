"""Answers that are used again: of backends on real sockets, and of some made of a few lines."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import open_gateway
from gateway.components.http_cache import NOT_IN_KEY, CachingTransport, Memory
from gateway.errors import BackendFailure
from gateway.http.connection import HttpResponse
from gateway.http.request_head import BackendRequest
from gateway.http.transport import Arrive, Result, Withdraw

from .service import Connection, Service, message, serving
from .test_backend import asking, configuration
from .test_freshness import NOON, answer, asked, header

pytestmark = pytest.mark.anyio

CACHED: dict[str, Any] = {"qos/http-cache": {}}


def counting(*lines: str, status: str = "200 OK") -> Any:
    """Answers with the number of the request, and these headers."""

    def script(service: Service, connection: Connection, request: bytes) -> None:
        body = b'{"n":%d}' % len(service.requests)
        connection.sendall(message(body, status, *lines))

    return script


async def numbers(client: Any, *requests: dict[str, str], path: str = "/") -> list[int]:
    return [(await client.get(path, headers=each)).json()["n"] for each in requests]


def passing_on(url: str, **changes: Any) -> Any:
    """Everything is forwarded in both directions, through a cache."""
    config = configuration(url, extra_config=CACHED, **changes)
    config["endpoints"][0].update(output_encoding="no-op", input_headers=["*"])
    return config


async def test_an_answer_that_is_fresh_is_used_again() -> None:
    with serving(counting("Cache-Control: max-age=60")) as service:
        async with asking(configuration(service.url, extra_config=CACHED)) as client:
            assert await numbers(client, {}, {}, {}) == [1, 1, 1]


async def test_without_a_cache_every_request_is_sent() -> None:
    with serving(counting("Cache-Control: max-age=60")) as service:
        async with asking(configuration(service.url)) as client:
            assert await numbers(client, {}, {}) == [1, 2]


def header_modifier(name: str, value: str) -> dict[str, Any]:
    settings = {"scope": ["response"], "name": name, "value": value}
    return {"modifier/martian": {"header.Modifier": settings}}


@pytest.mark.parametrize(
    ("told", "changed", "expected"),
    [
        (["Cache-Control: max-age=0"], "max-age=60, public", [1, 1, 1]),
        ([], "max-age=60", [1, 1, 1]),
        (["Cache-Control: max-age=60"], "no-store", [1, 2, 3]),
    ],
)
async def test_a_header_that_martian_changes_decides_what_is_kept(
    told: list[str], changed: str, expected: list[int]
) -> None:
    extra = {**CACHED, **header_modifier("Cache-Control", changed)}
    with serving(counting(*told)) as service:
        async with asking(configuration(service.url, extra_config=extra)) as client:
            assert await numbers(client, {}, {}, {}) == expected


async def test_what_martian_makes_of_an_answer_is_not_kept_for_others() -> None:
    told = {"name": "X-For", "value": "ann", "scope": ["response"]}
    for_ann = {
        "header.RegexFilter": {
            "scope": ["response"],
            "header": "X-Forwarded-For",
            "regex": "192.0.2.1",
            "modifier": {"header.Modifier": told},
        }
    }
    with serving(counting("Cache-Control: max-age=60")) as service:
        config = passing_on(service.url)
        config["endpoints"][0]["backend"][0]["extra_config"] = {
            **CACHED,
            "modifier/martian": for_ann,
        }
        async with asking(config) as client:
            seen = [
                (await client.get("/", headers={"X-Forwarded-For": address})).headers.get("x-for")
                for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1")
            ]
    assert seen == ["ann", None, "ann"]
    assert len(service.requests) == 1


async def test_a_cached_response_is_sent_with_its_age() -> None:
    with serving(counting("Cache-Control: max-age=60", "Age: 7")) as service:
        async with asking(passing_on(service.url)) as client:
            ages = [(await client.get("/")).headers["age"] for _ in range(2)]
    assert ages == ["7", "7"]
    assert len(service.requests) == 1


async def test_a_response_to_an_authorized_client_is_not_sent_to_others() -> None:
    with serving(counting("Cache-Control: max-age=60")) as service:
        async with asking(passing_on(service.url)) as client:
            alice, bob = {"Authorization": "alice"}, {"Authorization": "bob"}
            assert await numbers(client, alice, bob, alice, {"Cookie": "a=b"}) == [1, 2, 3, 4]


async def test_each_variant_is_kept_for_itself() -> None:
    with serving(counting("Cache-Control: max-age=60", "Vary: Accept-Language")) as service:
        async with asking(passing_on(service.url)) as client:
            german, french = {"Accept-Language": "de"}, {"Accept-Language": "fr"}
            assert await numbers(client, german, french, german, french) == [1, 2, 1, 2]


async def test_another_address_and_another_forwarded_host_are_other_answers() -> None:
    with serving(counting("Cache-Control: max-age=60")) as service:
        config = passing_on(service.url)
        config["endpoints"][0]["input_query_strings"] = ["*"]
        async with asking(config) as client:
            assert await numbers(client, {}, path="/?a=1") == [1]
            assert await numbers(client, {}, path="/?a=2") == [2]
            assert await numbers(client, {}, path="/?a=1") == [1]
            assert await numbers(client, {"Host": "evil.test"}, {}, path="/?a=1") == [3, 1]


@pytest.mark.parametrize(
    "name", ["X-User", "User-Agent", "Accept", "X-HTTP-Method-Override", "X-Original-URL"]
)
async def test_forwarded_headers_distinguish_requests_without_vary(name: str) -> None:
    with serving(counting("Cache-Control: max-age=60")) as service:
        async with asking(passing_on(service.url)) as client:
            client.headers.clear()
            one, two = {name: "one"}, {name: "two"}
            assert await numbers(client, one, two, one, {}, two, {}) == [1, 2, 1, 3, 2, 3]


async def test_headers_that_are_not_forwarded_do_not_distinguish_requests() -> None:
    with serving(counting("Cache-Control: max-age=60")) as service:
        async with asking(configuration(service.url, extra_config=CACHED)) as client:
            one, two = {"User-Agent": "one", "X-A": "1"}, {"User-Agent": "two", "X-A": "2"}
            assert await numbers(client, one, two) == [1, 1]


async def test_a_request_with_a_body_is_neither_answered_from_memory_nor_kept() -> None:
    with serving(counting("Cache-Control: max-age=60")) as service:
        async with asking(passing_on(service.url)) as client:
            with_body = [
                (await client.request("GET", "/", content=b"x=1")).json()["n"] for _ in range(2)
            ]
            assert with_body == [1, 2]
            assert await numbers(client, {}, {}) == [3, 3]


async def test_a_conditional_request_goes_to_the_backend() -> None:
    with serving(counting("Cache-Control: max-age=60", 'ETag: "1"')) as service:
        async with asking(passing_on(service.url)) as client:
            condition = {"If-None-Match": '"7"'}
            assert await numbers(client, {}, condition, {"Range": "bytes=0-1"}, {}) == [1, 2, 3, 1]


async def test_a_backend_is_called_to_validate_a_cached_response() -> None:
    def script(service: Service, connection: Connection, request: bytes) -> None:
        if b'If-None-Match: "1"' in request:
            connection.sendall(b"HTTP/1.1 304 Not Modified\r\nX-New: yes\r\n\r\n")
        else:
            connection.sendall(message(b'{"n":1}', "200 OK", 'ETag: "1"'))

    with serving(script) as service:
        async with asking(passing_on(service.url)) as client:
            first, second = await client.get("/"), await client.get("/")
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert ("x-new" in first.headers, "x-new" in second.headers) == (False, True)
    assert len(service.requests) == 2


@pytest.mark.parametrize(("is_shared", "expected"), [(True, [1, 1]), (False, [1, 2])])
async def test_backends_share_what_is_kept_when_they_say_so(
    is_shared: bool, expected: list[int]
) -> None:
    with serving(counting("Cache-Control: max-age=60")) as service:
        settings = {"qos/http-cache": {"shared": is_shared}}
        config = configuration(service.url, extra_config=settings)
        config["endpoints"].append({**config["endpoints"][0], "endpoint": "/other"})
        async with asking(config) as client:
            found = [*await numbers(client, {}), *await numbers(client, {}, path="/other")]
    assert found == expected


async def test_what_changes_an_address_ends_what_is_kept_of_it() -> None:
    with serving(counting("Cache-Control: max-age=60")) as service:
        config = configuration(service.url, extra_config={"qos/http-cache": {"shared": True}})
        post = {**config["endpoints"][0], "method": "POST"}
        config["endpoints"].append(post)
        async with asking(config) as client:
            assert await numbers(client, {}, {}) == [1, 1]
            await client.post("/", content=b"{}")
            assert await numbers(client, {}, {}) == [3, 3]


async def test_what_changes_an_address_ends_every_variant_that_is_kept_of_it() -> None:
    with serving(counting("Cache-Control: max-age=60")) as service:
        config = configuration(service.url, extra_config={"qos/http-cache": {"shared": True}})
        config["endpoints"][0]["input_headers"] = ["X-A"]
        config["endpoints"].append({**config["endpoints"][0], "method": "POST"})
        async with asking(config) as client:
            one, two = {"X-A": "1"}, {"X-A": "2"}
            assert await numbers(client, one, two, one) == [1, 2, 1]
            await client.post("/", content=b"{}", headers={"X-A": "3"})
            assert await numbers(client, one, two) == [4, 5]


async def test_limits_of_shared_memory_are_those_of_the_first() -> None:
    limits = ({"max_items": 1, "max_size": 100_000}, {"max_items": 9, "max_size": 9})
    config = configuration("http://a.test")
    config["endpoints"] = [
        {
            "endpoint": f"/{number}",
            "backend": [
                {
                    "url_pattern": "/",
                    "host": ["http://a.test"],
                    "extra_config": {"qos/http-cache": {"shared": True, **each}},
                }
            ],
        }
        for number, each in enumerate(limits)
    ]
    async with open_gateway(config) as gateway:
        found = [each["kind"] for each in gateway.readiness()["resources"] if "kind" in each]
    assert found == ["http cache"]


# With clocks that stand still.


class Backend:
    """A transport that answers from a list; the last answer for ever."""

    def __init__(self, *results: Result) -> None:
        self.results = list(results)
        self.requests: list[BackendRequest] = []

    def __call__(self, outgoing: BackendRequest, arrive: Arrive) -> Withdraw:
        self.requests.append(outgoing)
        arrive(self.results.pop(0) if len(self.results) > 1 else self.results[0])
        return lambda: None


class Cache:
    def __init__(self, *results: Result, memory: Memory | None = None) -> None:
        self.backend = Backend(*results)
        self.now = 0.0
        self.memory = memory or Memory()
        self.transport = CachingTransport(
            self.backend, self.memory, None, lambda: NOON + self.now, lambda: self.now
        )

    def ask(self, *lines: str, target: str = "/b") -> Result:
        arrived: list[Result] = []
        self.transport(asked(*lines)._replace(target=target), arrived.append)
        [result] = arrived
        return result


FRESH = answer("Cache-Control: max-age=60, stale-if-error=30", 'ETag: "1"')


def test_a_304_makes_an_answer_fresh_again() -> None:
    cache = Cache(FRESH, HttpResponse(304, [header("Cache-Control: max-age=60")], b""))
    cache.ask()
    cache.now = 60
    assert cache.ask() == FRESH._replace(
        headers=[FRESH.headers[1], header("Cache-Control: max-age=60")]
    )
    cache.now = 119
    cache.ask()
    assert len(cache.backend.requests) == 2
    cache.now = 120
    cache.ask()
    assert len(cache.backend.requests) == 3


def test_an_answer_that_has_changed_takes_the_place_of_what_was_kept() -> None:
    cache = Cache(FRESH, FRESH._replace(body=b'{"new":1}'))
    cache.ask()
    cache.now = 60
    assert [getattr(cache.ask(), "body", None) for _ in range(2)] == [b'{"new":1}'] * 2
    assert len(cache.backend.requests) == 2


@pytest.mark.parametrize("failure", [answer(status=503), BackendFailure("refused")])
def test_a_failure_is_hidden_only_as_long_as_the_backend_said(failure: Result) -> None:
    cache = Cache(FRESH, failure)
    cache.ask()
    cache.now = 89
    assert getattr(cache.ask(), "body", None) == b"{}"
    cache.now = 90
    assert cache.ask() == failure


def test_a_failure_does_not_end_what_is_kept_but_an_answer_does() -> None:
    cache = Cache(FRESH, answer(status=503), FRESH, answer("Cache-Control: no-store"), FRESH)
    cache.ask()
    cache.ask("Cache-Control: no-cache")
    cache.ask()
    assert len(cache.backend.requests) == 2
    cache.ask("Cache-Control: no-cache")
    cache.ask("Cache-Control: no-cache")
    cache.ask()
    assert len(cache.backend.requests) == 5


def test_only_if_cached_gets_a_cached_response_or_504() -> None:
    cache = Cache(FRESH)
    assert getattr(cache.ask("Cache-Control: only-if-cached"), "status", None) == 504
    cache.ask()
    assert getattr(cache.ask("Cache-Control: only-if-cached"), "status", None) == 200
    assert len(cache.backend.requests) == 1


def test_pragma_counts_where_nothing_newer_is_said() -> None:
    cache = Cache(FRESH)
    cache.ask()
    cache.ask("Pragma: no-cache")
    cache.ask("Pragma: no-cache", "Cache-Control: max-age=99")
    assert len(cache.backend.requests) == 2


def test_memory_holds_no_more_than_its_limits() -> None:
    big = FRESH._replace(body=b"x" * 10_000)
    cache = Cache(big, memory=Memory(max_items=100, max_size=35_000))
    for target in ("/1", "/2", "/3"):
        cache.ask(target=target)
    assert cache.memory.readiness()["answers"] == 3
    cache.ask(target="/1")
    cache.ask(target="/4")  # /2 goes: it was not used for longest
    assert len(cache.backend.requests) == 4
    cache.ask(target="/1")
    assert len(cache.backend.requests) == 4
    cache.ask(target="/2")
    assert len(cache.backend.requests) == 5
    assert cache.memory.readiness()["bytes"] <= 35_000


def test_memory_holds_no_more_answers_than_its_limit() -> None:
    cache = Cache(FRESH, memory=Memory(max_items=2, max_size=10**9))
    for target in ("/1", "/2", "/3", "/1"):
        cache.ask(target=target)
    assert len(cache.backend.requests) == 4
    assert cache.memory.readiness()["answers"] == 2


def test_an_answer_larger_than_the_memory_is_not_kept() -> None:
    cache = Cache(FRESH._replace(body=b"x" * 10_000), memory=Memory(10, 5_000))
    cache.ask()
    cache.ask()
    assert len(cache.backend.requests) == 2
    assert cache.memory.readiness() == {
        "kind": "http cache",
        "ready": True,
        "answers": 0,
        "bytes": 0,
    }


def test_what_was_kept_before_a_change_does_not_come_back() -> None:
    varied = answer("Cache-Control: max-age=60", "Vary: Accept")
    cache = Cache(varied)
    cache.ask("Accept: a")
    cache.transport(asked(method="DELETE"), lambda result: None)
    cache.ask("Accept: b")
    cache.ask("Accept: a")
    assert len(cache.backend.requests) == 4


def test_a_change_that_failed_changes_nothing() -> None:
    cache = Cache(FRESH, answer(status=409), FRESH)
    cache.ask()
    cache.transport(asked(method="PUT"), lambda result: None)
    cache.ask()
    assert len(cache.backend.requests) == 2


def test_requests_with_different_ids_share_what_was_kept() -> None:
    """Without the setting such a header is a part of the key."""
    for not_in_key, calls in ((NOT_IN_KEY | {b"x-request-id"}, 1), (NOT_IN_KEY, 2)):
        cache = Cache(FRESH, memory=Memory(not_in_key=not_in_key))
        for number in (1, 2):
            cache.ask(f"X-Request-Id: {number}")
        assert len(cache.backend.requests) == calls


def test_a_response_that_varies_with_the_id_is_kept_for_that_id() -> None:
    varying = answer("Cache-Control: max-age=60", "Vary: X-Request-Id")
    cache = Cache(varying, memory=Memory(not_in_key=NOT_IN_KEY | {b"x-request-id"}))
    for number in (1, 2):
        cache.ask(f"X-Request-Id: {number}")
    assert len(cache.backend.requests) == 2
