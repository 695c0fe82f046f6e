"""gateway/python: functions around endpoints and backends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from anyio import fail_after, sleep_forever
from anyio.lowlevel import checkpoint

from gateway.app.catalog import CATALOG
from gateway.app.service import open_gateway
from gateway.config.findings import ConfigError
from gateway.config.load import load
from gateway.core.asgi import ASGIApp
from gateway.errors import Unroutable
from gateway.hooks import HookRequest, HookResponse, Refused
from tests.http.service import Service as HttpService
from tests.http.service import answering, message, serving
from tests.router.support import Client, Reply, http_scope

from .gateways import Document

pytestmark = pytest.mark.anyio

HERE = "tests.components.test_python:"
calls: list[str] = []


# Hooks.


def add_headers(request: HookRequest) -> None:
    request.headers["x-hook"] = "yes"
    request.headers.pop("x-gone", None)
    request.params["Id"] = request.params.get("Id", "") + "-hooked"
    request.query_string = "a=hook"
    request.body += b"!"


async def add_headers_async(request: HookRequest) -> None:
    await checkpoint()
    add_headers(request)


def redact(request: HookRequest, response: HookResponse) -> None:
    assert response.data is not None
    response.data.pop("secret", None)
    response.data["asked"] = request.headers.get("x-hook", "")
    response.headers["X-Redacted"] = "1"
    response.headers["Cache-Control"] = "no-store"


async def redact_async(request: HookRequest, response: HookResponse) -> None:
    await checkpoint()
    redact(request, response)


def teapot(request: HookRequest, response: HookResponse) -> None:
    response.status = 418


def answer(request: HookRequest) -> HookResponse:
    return HookResponse({"answered": request.path}, status=203, headers={"X-By": "hook"})


def raises(request: HookRequest, *rest: HookResponse) -> None:
    raise KeyError("of nobody's concern")


def exits(request: HookRequest, *rest: HookResponse) -> None:
    sys.exit(3)


class Panic(BaseException):
    """As libraries that are written in Rust raise it."""


async def panics(request: HookRequest, *rest: HookResponse) -> None:
    await checkpoint()
    raise BaseExceptionGroup("", [Panic(), ValueError()])


def wrong(request: HookRequest, *rest: HookResponse) -> object:
    return {"not": "a response"}


def refuses(request: HookRequest, *rest: HookResponse) -> None:
    raise Refused(403)


def not_publishable(request: HookRequest, *rest: HookResponse) -> None:
    raise Unroutable("no")


async def never(request: HookRequest, *rest: HookResponse) -> None:
    await sleep_forever()


def returns_nonsense(request: HookRequest) -> Document:
    return {"a": 1}


def counted(request: HookRequest) -> None:
    calls.append("request")


def noted(request: HookRequest, response: HookResponse) -> None:
    calls.append("response")


class Group:
    @staticmethod
    def inside(request: HookRequest) -> None:
        """A dotted name."""


# A gateway with one HTTP service as its backend.


def hooks(request: str = "", response: str = "") -> Document:
    names = {"request": request and HERE + request, "response": response and HERE + response}
    return {"gateway/python": {key: name for key, name in names.items() if name}}


def configuration(
    url: str, of_endpoint: Document, *of_backends: Document, **changes: object
) -> Document:
    backends = [
        {"url_pattern": f"/b{place}", "host": [url], "extra_config": extra}
        for place, extra in enumerate(of_backends or ({},))
    ]
    return {
        "version": 3,
        "timeout": "5s",
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


async def post(app: ASGIApp, target: str = "/e/7", *headers: tuple[bytes, bytes]) -> Reply:
    client = Client([b"body"])
    all_headers = [(b"host", b"gateway.test"), *headers]
    with fail_after(10):
        await app(http_scope("POST", target, headers=all_headers), client.receive, client.send)
    return client.reply


async def ask(
    of_endpoint: Document,
    *of_backends: Document,
    answers: bytes = b'{"secret":1,"open":2.50}',
    headers: tuple[tuple[bytes, bytes], ...] = (),
    **changes: object,
) -> tuple[Reply, HttpService]:
    with serving(answering(message(answers))) as service:
        config = configuration(service.url, of_endpoint, *of_backends, **changes)
        async with open_gateway(config) as gateway:
            return await post(gateway.asgi, "/e/7?b=1", *headers), service


@pytest.mark.parametrize("name", ["add_headers", "add_headers_async"])
async def test_a_request_hook_of_an_endpoint_changes_what_every_backend_sees(name: str) -> None:
    reply, service = await ask(
        hooks(name),
        {},
        {},
        input_headers=["X-Gone"],
        headers=((b"x-gone", b"1"),),
    )
    assert reply.status == 200
    assert len(service.requests) == 2
    for request in service.requests:
        head, _, body = request.partition(b"\r\n\r\n")
        assert b"?a=hook HTTP/1.1" in head
        assert b"\r\nX-Hook: yes" in head
        assert b"X-Gone" not in head
        assert body == b"body!"


@pytest.mark.parametrize("name", ["add_headers", "add_headers_async"])
async def test_a_request_hook_of_a_backend_changes_the_request_of_this_backend_only(
    name: str,
) -> None:
    _, service = await ask({}, hooks(name), {})
    with_hook, without = sorted(service.requests, key=lambda request: b"X-Hook" not in request)
    assert with_hook.startswith(b"POST /b0?a=hook")
    assert with_hook.endswith(b"body!")
    assert without.startswith(b"POST /b1 ")
    assert without.endswith(b"\r\n\r\nbody")


async def test_a_header_that_no_list_names_is_not_shown_and_not_forwarded() -> None:
    reply, service = await ask(
        hooks("add_headers", "redact"), headers=((b"x-hook", b"client"), (b"x-other", b"1"))
    )
    assert b"X-Other" not in service.requests[0]
    assert reply.json()["asked"] == "yes"


async def test_a_parameter_that_a_hook_changes_is_in_the_path() -> None:
    with serving(answering(message())) as service:
        config = configuration(service.url, hooks("add_headers"))
        config["endpoints"][0]["backend"][0]["url_pattern"] = "/b/{id}"
        async with open_gateway(config) as gateway:
            await post(gateway.asgi)
    assert service.requests[0].startswith(b"POST /b/7-hooked?")


@pytest.mark.parametrize("name", ["redact", "redact_async"])
async def test_a_response_hook_changes_the_document_and_adds_headers(name: str) -> None:
    reply, _ = await ask(hooks(response=name), cache_ttl="1h")
    assert reply.json() == {"open": 2.5, "asked": ""}
    assert reply.headers["x-redacted"] == "1"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-krakend-completed"] == "true"


@pytest.mark.parametrize("name", ["redact", "redact_async"])
async def test_a_response_hook_of_a_backend_sees_its_part(name: str) -> None:
    reply, _ = await ask({}, hooks(response=name), {}, answers=b'{"secret":1}')
    assert reply.json().keys() == {"secret", "asked"}


async def test_a_hook_chooses_the_status() -> None:
    reply, _ = await ask(hooks(response="teapot"))
    assert (reply.status, reply.json()) == (418, {"secret": 1, "open": 2.5})


async def test_a_request_hook_that_returns_a_response_calls_no_backend() -> None:
    for of_endpoint, of_backend in ((hooks("answer"), {}), ({}, hooks("answer"))):
        reply, service = await ask(of_endpoint, of_backend)
        assert (reply.status, reply.json()) == (203, {"answered": "/e/7"})
        assert reply.headers["x-by"] == "hook"
        assert service.requests == []


async def test_with_no_op_a_hook_has_the_unchanged_response() -> None:
    with serving(answering(message(b"text", "201 Created", "X-One: 1"))) as service:
        config = configuration(service.url, hooks(response="pass_on"), output_encoding="no-op")
        async with open_gateway(config) as gateway:
            reply = await post(gateway.asgi)
    assert (reply.status, reply.body) == (201, b"text, hooked")
    assert (reply.headers["x-one"], reply.headers["x-two"]) == ("1", "2")


def pass_on(request: HookRequest, response: HookResponse) -> None:
    assert response.body is not None
    response.body += b", hooked"
    response.headers["x-two"] = "2"
    response.headers["content-length"] = "1000"
    response.headers["transfer-encoding"] = "chunked"


@pytest.mark.parametrize(
    ("name", "status"),
    [
        *[("raises", 500), ("refuses", 403), ("not_publishable", 422)],
        *[("exits", 500), ("panics", 500)],
    ],
)
@pytest.mark.parametrize("key", ["request", "response"])
@pytest.mark.parametrize("level", ["endpoint", "backend"])
async def test_a_hook_that_fails_fails_its_request(
    name: str, status: int, key: str, level: str
) -> None:
    extra = hooks(**{key: name})
    with serving(answering(message())) as service:
        of_endpoint, of_backend = (extra, {}) if level == "endpoint" else ({}, extra)
        config = configuration(service.url, of_endpoint, of_backend)
        config["endpoints"].append({**config["endpoints"][0], "endpoint": "/good"})
        config["endpoints"][1]["extra_config"] = {}
        config["endpoints"][1]["backend"] = [{"url_pattern": "/", "host": [service.url]}]
        async with open_gateway(config) as gateway:
            reply = await post(gateway.asgi)
            assert (reply.status, reply.body) == (status, b"")
            assert (await post(gateway.asgi, "/good")).status == 200


async def test_a_hook_that_returns_something_else_is_a_failure() -> None:
    reply, service = await ask(hooks("returns_nonsense"))
    assert (reply.status, service.requests) == (500, [])


async def test_one_backend_whose_hook_fails_makes_a_partial_response() -> None:
    reply, _ = await ask({}, hooks("raises"), {})
    assert (reply.status, reply.headers["x-krakend-completed"]) == (200, "false")


@pytest.mark.parametrize("key", ["request", "response"])
@pytest.mark.parametrize("level", ["endpoint", "backend"])
async def test_a_hook_that_waits_for_ever_is_ended_by_the_deadline(key: str, level: str) -> None:
    extra = hooks(**{key: "never"})
    of_endpoint, of_backend = (extra, {}) if level == "endpoint" else ({}, extra)
    reply, _ = await ask(of_endpoint, of_backend, timeout="100ms")
    assert reply.status == 500


# What a configuration may say.


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nocolon", 'expected "module:function"'),
        (":x", 'expected "module:function"'),
        ("no.such.module:x", "ModuleNotFoundError"),
        (HERE + "no_such_function", 'has no "no_such_function"'),
        (HERE + "HERE", "cannot be called"),
    ],
)
async def test_what_cannot_be_imported_stops_the_start(name: str, text: str) -> None:
    config = configuration("http://a.test", {"gateway/python": {"request": name}})
    config["endpoints"][0]["backend"][0]["extra_config"] = {"gateway/python": {"response": name}}
    with pytest.raises(ConfigError) as caught:
        load(config, CATALOG, {})
    where = '$.endpoints[0].{}extra_config["gateway/python"].{}'
    paths = [finding.path for finding in caught.value.findings]
    assert paths == [where.format("backend[0].", "response"), where.format("", "request")]
    assert all(text in finding.text for finding in caught.value.findings)


async def test_a_module_that_raises_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raises_when_imported.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = configuration(
        "http://a.test", {"gateway/python": {"request": "raises_when_imported:x"}}
    )
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        load(json.dumps(config).encode(), CATALOG, {})


async def test_a_dotted_name_is_found() -> None:
    reply, _ = await ask(hooks("Group.inside"))
    assert reply.status == 200
