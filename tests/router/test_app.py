"""Requests that find their endpoint, and those that are told why not."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import anyio
import pytest
from anyio import Event, create_task_group

from gateway.config.structs import GatewaySettings, RouterSettings
from gateway.core.proxy import Request, Response

from .support import application, ask, endpoint, telling

pytestmark = pytest.mark.anyio

ROUTES = [
    endpoint("GET", "/plain", telling),
    endpoint("POST", "/plain", telling),
    endpoint("GET", "/users/{id}", telling),
    endpoint("GET", "/Mixed/Case", telling),
    endpoint("GET", "/slash/", telling),
    endpoint("POST", "/only-post", telling),
]
STRICT = RouterSettings(
    disable_redirect_trailing_slash=True,
    disable_redirect_fixed_path=True,
    disable_handle_method_not_allowed=True,
    hide_version_header=True,
    health_path="/alive",
    auto_options=True,
    disable_path_decoding=True,
)
app = application(*ROUTES)


async def test_endpoint_is_asked_with_its_parameters_and_query() -> None:
    reply = await ask(app, "GET", "/users/a:b,c@d;e=f?x=1&y=%20")
    assert reply.status == 200
    assert reply.json() == {
        "method": "GET",
        "params": {"Id": "a:b,c@d;e=f"},
        "query": "x=1&y=%20",
        "body": "",
    }
    assert reply.headers == {
        "content-type": "application/json; charset=utf-8",
        "x-krakend": "Version 1.2.3",
        "x-krakend-completed": "true",
        "content-length": str(len(reply.body)),
    }


async def test_unknown_path_is_404() -> None:
    for method, path in (("GET", "/nope"), ("DELETE", "/nope"), ("GET", "/users/"), ("GET", "*")):
        reply = await ask(app, method, path)
        assert (reply.status, reply.body) == (404, b"404 page not found")
        assert reply.headers == {
            "content-type": "text/plain",
            "x-krakend": "Version 1.2.3",
            "x-krakend-completed": "false",
            "content-length": "18",
        }


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "HEAD", "get"])
async def test_another_method_is_405_with_those_allowed(method: str) -> None:
    reply = await ask(app, method, "/plain")
    assert (reply.status, reply.body) == (405, b"405 method not allowed")
    assert reply.headers["allow"] == "GET, POST"
    assert reply.headers["content-type"] == "text/plain"
    assert reply.headers["x-krakend-completed"] == "false"


@pytest.mark.parametrize(
    ("method", "path", "status", "location"),
    [
        ("POST", "/only-post/", 307, "/only-post"),
        ("GET", "/users/42/", 301, "/users/42"),
        ("GET", "/slash", 301, "/slash/"),
        ("GET", "/mixed/case", 301, "/Mixed/Case"),
        ("POST", "/ONLY-POST", 307, "/only-post"),
        ("GET", "/users//42", 301, "/users/42"),
        ("GET", "/users//x/", 301, "/users/x"),
        ("GET", "/users/a*'b(c)!/", 301, "/users/a%2A%27b%28c%29%21"),
        ("GET", "/__health/", 301, "/__health"),
        ("GET", "/__HEALTH", 301, "/__health"),
        ("GET", "/plain/?a=1&b=%26", 301, "/plain?a=1&b=%26"),
        ("GET", "/users/%C3%A9%20b%0D%0A/", 301, "/users/%C3%A9%20b%0D%0A"),
    ],
)
async def test_path_that_nearly_exists_is_redirected(
    method: str, path: str, status: int, location: str
) -> None:
    reply = await ask(app, method, path)
    assert (reply.status, reply.headers["location"]) == (status, location)
    assert "x-krakend" not in reply.headers
    assert "x-krakend-completed" not in reply.headers


async def test_page_of_a_redirect_cannot_be_written_by_a_client() -> None:
    reply = await ask(app, "GET", '/plain/?"><script>&')
    assert (
        reply.body == b'<a href="/plain?&quot;&gt;&lt;script&gt;&amp;">Moved Permanently</a>.\n\n'
    )


async def test_location_has_no_double_slash_and_no_dots() -> None:
    pairs = application(endpoint("GET", "/a/{b}/c", telling))
    assert (await ask(pairs, "GET", "/a//c/")).headers["location"] == "/a/c"
    assert (await ask(pairs, "GET", "/a/../c/")).headers["location"] == "/c"


async def test_redirect_never_leads_to_another_host() -> None:
    two = application(endpoint("GET", "/{a}/{b}", telling), endpoint("GET", "/{a}", telling))
    reply = await ask(two, "GET", "//evil.test/")
    assert reply.headers["location"] == "/evil.test"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("a%23b", b"error: encoded url params"),
        ("a%3Fb", b"error: encoded url params"),
        ("a%2520b", b"error: encoded url params"),
        ("%25zz", b'error: invalid URL escape "%zz"'),
        ("100%25", b'error: invalid URL escape "%"'),
        ("%2e%2e", b"error: dot segment"),
        (".", b"error: dot segment"),
        ("..;", b"error: dot segment"),
        ("..;a=b", b"error: dot segment"),
        (".;x", b"error: dot segment"),
        ("..%5C", b"error: dot segment"),
        ("..%5Cetc", b"error: dot segment"),
        ("a%5C..%5Cb", b"error: dot segment"),
        ("a%5C..", b"error: dot segment"),
        ("a%00", b"error: invalid control character in URL"),
        ("%0d%0aX", b"error: invalid control character in URL"),
        ("%7f", b"error: invalid control character in URL"),
    ],
)
async def test_parameter_that_means_something_in_a_url_is_400(value: str, problem: bytes) -> None:
    reply = await ask(app, "GET", f"/users/{value}")
    assert (reply.status, reply.body) == (400, problem)
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert "x-krakend" not in reply.headers


@pytest.mark.parametrize("path", ["/users/%zz", "/nope%", "/users/%4/x", "/Plain%"])
async def test_path_with_a_broken_escape_is_400_wherever_it_leads(path: str) -> None:
    for options in (RouterSettings(), STRICT):
        reply = await ask(application(*ROUTES, router=options), "GET", path)
        assert (reply.status, reply.body) == (400, b"400 Bad Request")
        assert "x-krakend" not in reply.headers


@pytest.mark.parametrize(
    "value", ["a b", "été", "{id}", "a..b", "a&b=c", "..a", "a..", "a\\b", "...", "a;b"]
)
async def test_any_other_parameter_is_passed_on(value: str) -> None:
    reply = await ask(app, "GET", f"/users/{quote(value)}")
    assert reply.json()["params"] == {"Id": value}


async def test_encoded_slash_divides_segments() -> None:
    assert (await ask(app, "GET", "/users/a%2Fb")).status == 404


async def test_what_is_switched_off_is_404() -> None:
    strict = application(*ROUTES, router=STRICT)
    for method, path in (
        ("GET", "/PLAIN"),
        ("GET", "/plain/"),
        ("PUT", "/plain"),
        ("HEAD", "/plain"),
        ("OPTIONS", "/nope"),
        ("GET", "/__health"),
    ):
        reply = await ask(strict, method, path)
        assert (reply.status, reply.headers["x-krakend"]) == (404, "Version undefined")
    assert (await ask(strict, "GET", "/alive")).status == 200
    assert (await ask(strict, "GET", "/users/a%3Fb")).json()["params"] == {"Id": "a?b"}


@pytest.mark.parametrize(
    ("target", "value"),
    [("/users/%ff", "%FF"), ("/users/a%e2%82z%C3%A9", "a%E2%82zé"), ("/users/%EF%BF%BD", "\ufffd")],
)
async def test_bytes_of_a_parameter_that_are_not_utf_8_stay_escaped(
    target: str, value: str
) -> None:
    assert (await ask(app, "GET", target)).json()["params"] == {"Id": value}
    mounted = await ask(app, "GET", f"/below{target}", root="/below")
    assert mounted.json()["params"] == {"Id": value}


async def test_auto_options_lists_the_methods() -> None:
    reply = await ask(application(*ROUTES, router=STRICT), "OPTIONS", "/plain")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers == {
        "allow": "GET, POST",
        "x-krakend": "Version undefined",
        "content-length": "0",
    }


async def test_auto_options_lists_all_methods_whatever_each_calls_a_parameter() -> None:
    routes = [endpoint("GET", "/t/{owner}", telling), endpoint("DELETE", "/t/{id}", telling)]
    app = application(*routes, router=RouterSettings(auto_options=True))
    assert (await ask(app, "OPTIONS", "/t/1")).headers["allow"] == "DELETE, GET"
    assert (await ask(app, "DELETE", "/t/1")).json()["params"] == {"Id": "1"}


async def test_error_bodies_are_those_of_the_configuration() -> None:
    bodies: dict[str, Any] = {"404": {"msg": "nothing <here>"}, "405": {"why": "method"}}
    own = application(*ROUTES, router=RouterSettings(error_body=bodies))
    missing, refused = await ask(own, "GET", "/nope"), await ask(own, "PUT", "/plain")
    assert (missing.status, missing.json()) == (404, {"msg": "nothing <here>"})
    assert missing.headers["content-type"] == "application/json; charset=utf-8"
    assert missing.headers["x-krakend-completed"] == "false"
    assert (refused.status, refused.json()) == (405, {"why": "method"})
    assert refused.headers["allow"] == "GET, POST"


async def test_extra_slashes_are_removed_where_that_is_configured() -> None:
    tolerant = application(*ROUTES, router=RouterSettings(remove_extra_slash=True))
    assert (await ask(tolerant, "GET", "//plain")).status == 200
    assert (await ask(tolerant, "GET", "/users//4")).json()["params"] == {"Id": "4"}


async def test_mounted_below_a_path_it_knows_its_own_paths_only() -> None:
    assert (await ask(app, "GET", "/gw/plain", root="/gw")).status == 200
    assert (await ask(app, "GET", "/gw", root="/gw")).status == 404
    assert (await ask(app, "GET", "/plain", root="/gw")).status == 200
    reply = await ask(app, "GET", "/gw/slash?x=1", root="/gw")
    assert reply.headers["location"] == "/gw/slash/?x=1"


async def test_more_requests_than_the_limit_are_503_but_health_answers() -> None:
    entered, go = Event(), Event()

    async def slow(request: Request) -> Response:
        entered.set()
        await go.wait()
        return Response({"a": 1})

    small = application(endpoint("GET", "/slow", slow), gateway=GatewaySettings(max_requests=1))
    with anyio.fail_after(5):
        async with create_task_group() as clients:
            clients.start_soon(ask, small, "GET", "/slow")
            await entered.wait()
            busy = await ask(small, "GET", "/slow")
            assert (busy.status, busy.headers["retry-after"]) == (503, "1")
            assert (await ask(small, "GET", "/__health")).status == 200
            assert (await ask(small, "GET", "/__ready")).status == 200
            go.set()
        assert (await ask(small, "GET", "/slow")).status == 200


async def test_websockets_are_refused() -> None:
    sent = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    await app({"type": "websocket", "path": "/plain"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1000}]
