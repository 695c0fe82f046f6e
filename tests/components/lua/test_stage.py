"""modifier/lua-proxy, -backend, -endpoint around endpoints of an open gateway."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.app.service import open_gateway
from gateway.components.lua.scripts import LuaSettings
from gateway.components.lua.stage import build_lua_backend
from gateway.config.findings import ConfigError
from gateway.config.load import load
from gateway.config.structs import Backend, Endpoint, Service
from gateway.core.asgi import ASGIApp
from gateway.core.bridge import open_asyncio_side
from gateway.core.component import Assembly
from gateway.core.proxy import Branch, Part
from gateway.core.proxy import Request as ProxyRequest
from gateway.core.proxy import Response as ProxyResponse
from tests.http.service import Service as HttpService
from tests.http.service import answering, message, serving
from tests.router.support import Client, Reply, http_scope

pytestmark = pytest.mark.anyio


def lua(kind: str, **settings: Any) -> dict[str, Any]:
    return {f"modifier/lua-{kind}": settings}


def configuration(
    url: str, of_endpoint: dict[str, Any], *of_backends: dict[str, Any], **changes: Any
) -> dict[str, Any]:
    backends = [
        {"url_pattern": f"/b{place}/{{id}}", "host": [url], "extra_config": extra}
        for place, extra in enumerate(of_backends or ({},))
    ]
    root = changes.pop("root", {})
    return {
        "version": 3,
        "timeout": "60s",
        "extra_config": {"router": {"return_error_msg": True}, **root},
        "endpoints": [
            {
                "endpoint": "/e/{id}",
                "method": "POST",
                "extra_config": of_endpoint,
                "backend": backends,
                **changes,
            }
        ],
    }


async def post(app: ASGIApp, target: str = "/e/7?a=1", *headers: tuple[bytes, bytes]) -> Reply:
    client = Client([b"body"])
    all_headers = [(b"host", b"gateway.test"), *headers]
    await app(http_scope("POST", target, headers=all_headers), client.receive, client.send)
    return client.reply


async def ask(
    of_endpoint: dict[str, Any],
    *of_backends: dict[str, Any],
    answers: bytes = b'{"n":2.50,"s":"x"}',
    headers: tuple[tuple[bytes, bytes], ...] = (),
    **changes: Any,
) -> tuple[Reply, HttpService]:
    with serving(answering(message(answers))) as service:
        config = configuration(service.url, of_endpoint, *of_backends, **changes)
        async with open_gateway(config) as gateway:
            return await post(gateway.asgi, "/e/7?a=1", *headers), service


async def test_a_script_changes_what_every_backend_sees() -> None:
    pre = """
        local r = request.load()
        r:headers('X-Lua', 'yes') r:params('Id', '8') r:query('b=2') r:body('other')
    """
    _, service = await ask(lua("proxy", pre=pre), {}, {})
    for request in service.requests:
        assert b"/8?b=2 HTTP/1.1" in request
        assert b"\r\nX-Lua: yes" in request
        assert request.endswith(b"\r\n\r\nother")


async def test_a_script_of_a_backend_changes_its_request_alone() -> None:
    pre = """
        local r = request.load()
        assert(r:path() == '/b0/7' and r:method() == 'POST')
        r:headers('X-Lua', 'yes')
    """
    reply, service = await ask({}, lua("backend", pre=pre), {})
    assert reply.headers["x-krakend-completed"] == "true"
    [changed] = [request for request in service.requests if b"X-Lua" in request]
    assert changed.startswith(b"POST /b0/7")


async def test_a_script_of_a_backend_sends_its_request_elsewhere() -> None:
    with serving(answering(message(b'{"there":1}'))) as other:
        pre = f"""
            local r = request.load()
            assert(r:url():match('^http://.*/b0/7%?a=1$'), r:url())
            r:url('{other.url}/else where?x=1') r:method('put') r:headers('X-Lua', 'yes')
        """
        extra = lua("backend", pre=pre, allow_open_libs=True)
        reply, service = await ask({}, extra, input_query_strings=["a"])
    assert (reply.status, reply.json()) == (200, {"there": 1})
    assert service.requests == []
    [request] = other.requests
    assert request.startswith(b"PUT /else%20where?x=1 HTTP/1.1\r\n")
    assert b"\r\nX-Lua: yes" in request
    assert request.endswith(b"body")


async def test_a_script_may_extend_the_url_that_it_reads() -> None:
    pre = "local r = request.load() r:url(r:url() .. '/9' .. '?b=' .. 358240051111110)"
    with serving(answering(message(b"{}"))) as service:
        config = configuration(service.url.replace("://", "://me:secret@"), {})
        [backend] = config["endpoints"][0]["backend"]
        backend.update(disable_host_sanitize=True, extra_config=lua("backend", pre=pre))
        async with open_gateway(config) as gateway:
            assert (await post(gateway.asgi)).status == 200
    [request] = service.requests
    assert request.startswith(b"POST /b0/7/9?b=358240051111110 HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Basic bWU6c2VjcmV0\r\n" in request


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("url('/x')", 'the URL of a script: unsupported protocol scheme ""'),
        ("url('')", 'the URL of a script: unsupported protocol scheme ""'),
        ("url('ftp://b.test/')", 'the URL of a script: unsupported protocol scheme "ftp"'),
        ("method('A B')", "invalid method 'A B'"),
        ("method('A\\r\\nX: y')", r"invalid method 'A\r\nX: y'"),
    ],
)
async def test_an_invalid_url_or_method_fails_its_request(call: str, text: str) -> None:
    reply, service = await ask({}, lua("backend", pre=f"request.load():{call}"))
    assert (reply.status, reply.body.decode(), service.requests) == (500, text, [])


async def test_a_login_of_another_host_is_not_sent_along() -> None:
    with serving(answering(message(b"{}"))) as other:
        pre = f"request.load():url('{other.url}/x')"
        with serving(answering(message(b"{}"))) as service:
            config = configuration(service.url.replace("://", "://me:secret@"), {})
            [backend] = config["endpoints"][0]["backend"]
            backend.update(disable_host_sanitize=True, extra_config=lua("backend", pre=pre))
            async with open_gateway(config) as gateway:
                await post(gateway.asgi)
    [request] = other.requests
    assert b"Authorization" not in request


async def test_around_the_pipe_a_url_a_path_and_a_method_have_no_effect() -> None:
    pre = """
        local r = request.load() assert(r:url() == '')
        r:url('http://nowhere.test/') r:path('/elsewhere') r:method('PUT')
    """
    for of_backend in ({}, lua("backend", pre="assert(request.load():url() ~= '')")):
        reply, service = await ask(lua("proxy", pre=pre), of_backend)
        assert reply.status == 200
        assert service.requests[0].startswith(b"POST /b0/7 HTTP/1.1\r\n")


async def test_a_script_sees_only_what_is_forwarded() -> None:
    pre = "local r = request.load() assert(r:headers('X-Other') == '' and r:query() == '')"
    reply, _ = await ask(lua("proxy", pre=pre), headers=((b"x-other", b"1"),))
    assert reply.status == 200


async def test_a_script_changes_the_response() -> None:
    post_script = """
        local r = response.load()
        r:data():set('s', r:data():get('s') .. '!') r:headers('X-Lua', 'yes') r:statusCode(404)
    """
    for of_endpoint, of_backend in (
        (lua("proxy", post=post_script), {}),
        ({}, lua("backend", post=post_script)),
    ):
        reply, _ = await ask(of_endpoint, of_backend)
        assert reply.body == b'{"n":2.50,"s":"x!"}'
        assert (reply.status, reply.headers["x-lua"]) == (200, "yes")


async def test_with_no_op_a_script_gets_the_response_as_received() -> None:
    post_script = "local r = response.load() r:body(r:body() .. '!') r:statusCode(202)"
    reply, _ = await ask(lua("proxy", post=post_script), answers=b"text", output_encoding="no-op")
    assert (reply.status, reply.body) == (202, b"text!")


async def test_post_has_the_variables_of_pre() -> None:
    pre, post_script = "x = request.load():params('Id')", "response.load():data():set('s', x)"
    reply, _ = await ask(lua("proxy", pre=pre, post=post_script))
    assert reply.json()["s"] == "7"


async def test_with_skip_next_no_backend_is_called() -> None:
    post_script = "response.load():data():set('made', 'here')"
    for of_endpoint, of_backend in (
        (lua("proxy", skip_next=True, post=post_script), {}),
        ({}, lua("backend", skip_next=True, post=post_script)),
    ):
        reply, service = await ask(of_endpoint, of_backend)
        assert (reply.json(), service.requests) == ({"made": "here"}, [])
        assert reply.headers["x-krakend-completed"] == "false"


async def test_post_does_not_run_on_a_partial_response() -> None:
    of_backend = lua("backend", pre="error('no')")
    reply, _ = await ask(lua("proxy", post="error('not reached')"), of_backend, {})
    assert (reply.status, reply.headers["x-krakend-completed"]) == (200, "false")


@pytest.mark.parametrize("kind", ["proxy", "backend"])
@pytest.mark.parametrize("key", ["pre", "post"])
async def test_a_custom_error_is_the_response(kind: str, key: str) -> None:
    extra = lua(kind, **{key: "custom_error('{\"e\":1}', 418, 'application/json')"})
    of_endpoint, of_backend = (extra, {}) if kind == "proxy" else ({}, extra)
    reply, _ = await ask(of_endpoint, of_backend)
    assert (reply.status, reply.body) == (418, b'{"e":1}')
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-krakend-completed"] == "false"


async def test_the_content_type_of_a_custom_error_cannot_add_a_header() -> None:
    pre = "custom_error('x', 418, 'a/b\\r\\nX-Bad: 1')"
    reply, _ = await ask(lua("proxy", pre=pre))
    assert reply.headers["content-type"].startswith("text/plain")
    reply, _ = await ask(lua("endpoint", pre=pre))
    assert reply.headers["content-type"] == "a/bX-Bad: 1"


async def test_an_error_of_a_script_fails_its_request_alone() -> None:
    pre = "if request.load():params('Id') == '7' then while true do end end"
    with serving(answering(message())) as service:
        config = configuration(service.url, lua("proxy", pre=pre))
        async with open_gateway(config) as gateway:
            bad = await post(gateway.asgi)
            assert (bad.status, bad.body) == (500, b"too many instructions")
            assert (await post(gateway.asgi, "/e/8")).status == 200


async def test_a_context_changes_the_request_before_everything_else() -> None:
    pre = """
        local c = ctx.load()
        assert(c:method() == 'POST' and c:url() == '/e/7?a=1' and c:host() == 'gateway.test')
        c:headers('X-Lua', c:headers('X-Secret')) c:params('id', '9') c:query('a', '2')
    """
    reply, service = await ask(
        lua("endpoint", pre=pre),
        input_headers=["X-Lua"],
        input_query_strings=["a"],
        headers=((b"x-secret", b"s"),),
    )
    assert reply.status == 200
    [request] = service.requests
    assert request.startswith(b"POST /b0/9?a=2 ")
    assert b"\r\nX-Lua: s" in request
    assert b"X-Secret" not in request


async def test_a_context_may_change_the_body() -> None:
    pre = "local c = ctx.load() c:body(c:body() .. '!') c:headers('X-Lua', 'yes')"
    _, service = await ask(lua("endpoint", pre=pre), input_headers=["X-Lua"])
    [request] = service.requests
    assert request.endswith(b"\r\n\r\nbody!")
    assert b"\r\nX-Lua: yes" in request


@pytest.mark.parametrize("names_body", [False, True])
async def test_an_error_in_lua_endpoint_is_a_status_without_a_body(names_body: bool) -> None:
    before = "ctx.load():body() " if names_body else ""
    reply, service = await ask(lua("endpoint", pre=before + "custom_error('x', 402, 'a/b')"))
    assert (reply.status, reply.body, service.requests) == (402, b"", [])
    assert reply.headers == {"content-type": "a/b", "content-length": "0"}
    reply, _ = await ask(lua("endpoint", pre=before + "error('x')"))
    assert (reply.status, reply.headers) == (500, {"content-length": "0"})


async def test_a_script_of_the_service_runs_before_every_request_but_not_before_redirects() -> None:
    pre = """
        local c = ctx.load()
        if c:query('a') == '2' then custom_error('no', 403) end
        c:headers('X-Lua', 'yes') c:query('b', '3')
    """
    root = lua("endpoint", pre=pre)
    with serving(answering(message())) as service:
        config = configuration(
            service.url, {}, input_headers=["X-Lua"], input_query_strings=["b"], root=root
        )
        async with open_gateway(config) as gateway:
            assert (await post(gateway.asgi)).status == 200
            assert (await post(gateway.asgi, "/e/7?a=2")).status == 500
            assert (await post(gateway.asgi, "/nowhere?a=2")).status == 500
            assert (await post(gateway.asgi, "/e/7/?a=2")).status == 307
            health = Client()
            scope = http_scope("GET", "/__health?a=2")
            await gateway.asgi(scope, health.receive, health.send)
            assert health.reply.status == 200
    [request] = service.requests
    assert request.startswith(b"POST /b0/7?b=3 ")
    assert b"\r\nX-Lua: yes" in request


async def test_sources_are_run_before_and_share_their_variables(tmp_path: Path) -> None:
    one, two = tmp_path / "one.lua", tmp_path / "two.lua"
    one.write_text("local factor = 2")
    two.write_text("function scaled(x) return x * factor end")
    reply, _ = await ask(
        lua(
            "proxy",
            sources=[str(one), str(two)],
            md5={str(one): hashlib.md5(one.read_bytes()).hexdigest()},
            post="local d = response.load():data() d:set('n', scaled(d:get('n')))",
        )
    )
    assert reply.json()["n"] == 5


async def test_live_sources_are_read_for_each_request(tmp_path: Path) -> None:
    source = tmp_path / "lib.lua"
    settings = {"sources": [str(source)], "live": True, "post": "f(response.load():data())"}
    with serving(answering(message(b'{"a":1}'))) as service:
        config = configuration(service.url, lua("proxy", **settings))
        async with open_gateway(config) as gateway:
            assert (await post(gateway.asgi)).status == 500
            for number in (2, 3):
                source.write_text(f"function f(d) d:set('a', {number}) end")
                assert (await post(gateway.asgi)).json() == {"a": number}
            source.write_text("function f(")
            assert (await post(gateway.asgi)).status == 500


# Branches keep what they can do without a task.


def inner(now: ProxyResponse | None) -> Branch:
    def later(request: ProxyRequest, arrive: Any) -> Any:
        arrive(ProxyResponse({"late": 1}))

    return Branch(None, lambda request: now, later, reads_body=False)


async def wrapped(branch: Branch, **settings: Any) -> Branch:
    async with open_asyncio_side() as side:
        assembly = Assembly(Service(), CATALOG, side)
        stage = build_lua_backend(LuaSettings(**settings), Backend(), Endpoint(), assembly)
        return stage(branch)


async def test_a_script_of_a_backend_needs_no_task() -> None:
    post_script = "response.load():data():set('post', 1)"
    only_post = await wrapped(inner(ProxyResponse({"a": 1})), post=post_script)
    assert only_post.now is not None
    answered = only_post.now(ProxyRequest("GET", "/", {}))
    assert answered is not None
    assert answered.data == {"a": 1, "post": 1}
    both = await wrapped(inner(None), pre="x = 1", post=post_script)
    assert both.now is None
    assert both.later is not None
    parts: list[Part] = []
    both.later(ProxyRequest("GET", "/", {}), parts.append)
    [part] = parts
    assert isinstance(part, ProxyResponse)
    assert (part.data, both.reads_body) == ({"late": 1, "post": 1}, False)
    assert (await wrapped(inner(None), pre="request.load():body()")).reads_body


# What a configuration may say.


def problems(tmp_path: Path, **settings: Any) -> list[tuple[str, str]]:
    config = configuration("http://a.test", lua("proxy", **settings))
    with pytest.raises(ConfigError) as caught:
        load(config, CATALOG, {})
    where = '$.endpoints[0].extra_config["modifier/lua-proxy"].'
    return [
        (finding.path.removeprefix(where), finding.text)
        for finding in caught.value.findings
        if finding.severity == "error"
    ]


async def test_a_script_that_cannot_run_stops_the_start(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.lua", tmp_path / "bad.lua"
    good.write_text("x = 1")
    bad.write_text("x = 1\nx = = 2")
    found = dict(
        problems(
            tmp_path,
            pre="local x = ",
            post="http_response.new('http://a.test')",
            sources=[str(good), str(bad), str(tmp_path / "nowhere.lua")],
            md5={str(good): "0" * 32, "other.lua": "1"},
        )
    )
    assert "(pre:L1)" in found["pre"]
    assert "http_response is not implemented" in found["post"]
    assert "(sources[1]:L2)" in found["sources[1]"]
    assert "No such file" in found["sources[2]"]
    assert "the file has" in found[f'md5["{good}"]']
    assert "is not one of the sources" in found['md5["other.lua"]']
    assert len(found) == 6


def warnings(of_endpoint: dict[str, Any], of_backend: dict[str, Any] | None = None) -> str:
    config = configuration("http://a.test", of_endpoint, of_backend or {})
    return "\n".join(map(str, check(load(config, CATALOG, {}).service, CATALOG)))


@pytest.mark.parametrize(
    ("kind", "settings", "text"),
    [
        ("proxy", {"pre": "local f = io.open('x')"}, "io.: not in the sandbox"),
        ("proxy", {"post": "require 'x'"}, "not in the sandbox"),
        ("backend", {"pre": "os.getenv('X')"}, "os.getenv: not in the sandbox"),
        ("proxy", {"pre": "string.upper('x')"}, "allow_open_libs"),
        ("endpoint", {"pre": "x = 1", "post": "x = 1"}, "only pre and sources"),
        ("proxy", {"pre": "x = 1", "live": True, "md5": {"a": "b"}}, "not checked with live"),
        ("proxy", {"pre": "x = 1", "max_instructions": 5}, "only this gateway knows"),
        ("proxy", {"pre": "collectgarbage('collect')"}, "collectgarbage(: not in the sandbox"),
        ("proxy", {"pre": "request.load():url('http://b')"}, ":url(...) has no effect here"),
        ("proxy", {"pre": "request.load():method('PUT')"}, ":method(...) has no effect here"),
        ("backend", {"pre": "request.load():path( '/x')"}, ":path(...) has no effect here"),
    ],
)
async def test_check_warns_of_calls_without_effect(
    kind: str, settings: dict[str, Any], text: str
) -> None:
    extra = lua(kind, **settings)
    found = warnings({}, extra) if kind == "backend" else warnings(extra)
    assert text in found


async def test_check_does_not_warn_of_a_good_script() -> None:
    pre = "local r = request.load() r:headers('X', 'requires io and a debugger' .. r:url())"
    assert warnings(lua("proxy", pre=pre)) == ""
    pre = "local r = request.load() r:url(r:url() .. '/x') r:method('PUT') r:headers('X', r:path())"
    assert warnings({}, lua("backend", pre=pre)) == ""


async def test_check_warns_of_lua_endpoint_for_an_agent() -> None:
    agent = {
        "name": "a",
        "consumer": {"topic": "t"},
        "backend": [{"url_pattern": "/", "host": ["http://a.test"], "method": "POST"}],
        "extra_config": {
            "async/amqp": {"host": "amqp://b", "name": "q", "exchange": "e", "durable": True},
            **lua("endpoint", pre="x = 1"),
        },
    }
    service = load({"version": 3, "async_agent": [agent]}, CATALOG, {}).service
    assert "an agent has no HTTP request" in "\n".join(map(str, check(service, CATALOG)))
