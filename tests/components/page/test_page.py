"""The page of a whole gateway, without a server: which documents there are, and what is in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anyio import fail_after, sleep

from gateway.app.service import Gateway, load, open_gateway
from gateway.components.page.state import ConfigDocument, FindingsDocument, PageState
from gateway.config.findings import ConfigError

from ...router.support import Client, Reply, http_scope
from ..gateways import Backends, backend, document

pytestmark = pytest.mark.anyio

LOCAL: dict[str, Any] = {
    "server": ("127.0.0.1", 9090),
    "client": ("127.0.0.1", 40000),
    "headers": [(b"host", b"localhost:9090")],
}
HTML_NAME = '<img src=x onerror="alert(1)">'

BASIC = {
    "auth/basic": {"users": {"me": "$2b$04$kj8K8Xbp8eA4CjH4zibRtOSJTmx/OFp8LsdiBQcwNd4fFvbY6YoS6"}}
}


def config(page: dict[str, Any] | None = None, **extra: Any) -> dict[str, Any]:
    found = document()
    own = {"management_port": 9090, **({} if page is None else {"page": page})}
    found["extra_config"] = {**found["extra_config"], "gateway": own, **extra}
    return found


async def get(gateway: Gateway, target: str, method: str = "GET", **changes: Any) -> Reply:
    scope = http_scope(method, target, **{**LOCAL, **changes})
    client = Client()
    await gateway.management(scope, client.receive, client.send)
    return client.reply


async def state(gateway: Gateway, since: int | None = None) -> PageState:
    query = "" if since is None else f"?since={since}"
    reply = await get(gateway, f"/__state.json{query}")
    assert reply.status == 200, reply.body
    return msgspec.json.decode(reply.body, type=PageState)


async def state_with(gateway: Gateway, is_it: Callable[[PageState], object]) -> PageState:
    """The first state for which ``is_it`` is true."""
    with fail_after(10):
        while not is_it(found := await state(gateway)):
            await sleep(0.05)
    return found


async def ask(gateway: Gateway, target: str = "/e", method: str = "GET", **headers: str) -> int:
    scope = http_scope(method, target)
    scope["headers"] = [
        (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
    ]
    client = Client()
    await gateway.asgi(scope, client.receive, client.send)
    return client.reply.status


async def test_requests_are_counted_by_endpoint_and_outcome() -> None:
    backends = Backends({"/a": b"{}"})
    async with open_gateway(config(), catalog=backends.catalog()) as gateway:
        for _ in range(3):
            await ask(gateway)
        await ask(gateway, "/nowhere")
        found = await state_with(gateway, lambda it: it.unmatched.total.client_errors)
        [row] = found.endpoints
        assert (row.id, row.total.ok, row.minute.ok) == ("GET /e", 3, 3)
        assert sum(row.counts) == 3
        assert sum(row.recent) == 3
        assert row.p50 is not None
        assert row.max is not None
        assert 0 < row.p50 <= row.max
        assert sum(found.history.series.ok) == 3
        assert sum(found.history.series.client_errors) == 1
        assert found.unmatched.id == ""
        assert found.failures == []


async def test_only_new_points_are_sent_to_a_page_that_has_the_others() -> None:
    async with open_gateway(config(), catalog=Backends({}).catalog()) as gateway:
        first = await state(gateway)
        assert first.history.is_complete
        last = first.history.last
        assert len(first.history.times) == len(first.history.series.ok)
        await state_with(gateway, lambda it: it.history.last >= last + 2)
        found = await state(gateway, last)
        assert not found.history.is_complete
        assert found.history.last - len(found.history.times) == last
        assert len(found.endpoints[0].recent) == len(found.history.times)
        assert (await state(gateway, 10**9)).history.is_complete
        assert (await state(gateway, found.history.last)).history.times == []


async def test_failed_requests_are_shown_with_reason_and_ids() -> None:
    async with open_gateway(config(), catalog=Backends({}).catalog()) as gateway:
        before = (await state(gateway)).history.last
        assert await ask(gateway, x_request_id="abc") == 500
        found = await state_with(gateway, lambda it: it.failures)
        [failure] = found.failures
        assert (failure.endpoint, failure.status) == ("GET /e", 500)
        assert (failure.reason, failure.request_id) == ("no", "abc")
        assert failure.second > before
        assert found.endpoints[0].total.server_errors == 1
        assert (await state(gateway, found.history.last)).failures == []


async def test_a_gateway_that_stops_is_draining_and_still_answers() -> None:
    async with open_gateway(config(), catalog=Backends({}).catalog()) as gateway:
        assert (await state(gateway)).state.word == "Serving"
        gateway.stopping()
        found = await state_with(gateway, lambda it: it.gateway.is_draining)
        assert (found.state.level, found.state.word) == ("amber", "Draining")
        assert not found.gateway.is_ready


async def test_names_from_outside_are_only_data() -> None:
    hostile = config()
    hostile["name"] = HTML_NAME
    hostile["endpoints"][0]["endpoint"] = f"/{HTML_NAME}"
    async with open_gateway(hostile, catalog=Backends({}).catalog()) as gateway:
        reply = await get(gateway, "/__state.json")
        assert reply.headers["content-type"] == "application/json; charset=utf-8"
        assert reply.headers["x-content-type-options"] == "nosniff"
        found = await state(gateway)
        assert found.gateway.name == HTML_NAME
        assert found.endpoints[0].path == f"/{HTML_NAME}"


async def test_findings_are_those_of_check_and_audit_with_their_paths() -> None:
    async with open_gateway(config(), catalog=Backends({}).catalog()) as gateway:
        reply = await get(gateway, "/__findings.json")
        document = msgspec.json.decode(reply.body, type=FindingsDocument)
        assert document.is_known
        rules = {each.rule: each for each in document.findings}
        assert rules["9.1.2"].severity == "MEDIUM"
        assert rules["9.1.2"].path == "$.extra_config.gateway"
        assert len({each.id for each in document.findings}) == len(document.findings)
        found = await state_with(gateway, lambda it: it.findings.is_known)
        counts = found.findings
        assert counts.medium == len(
            {each.rule for each in document.findings if each.severity == "MEDIUM"}
        )


async def test_the_configuration_is_shown_as_understood_without_secrets() -> None:
    settings = config()
    settings["endpoints"][0]["backend"][0]["url_pattern"] = "/a?token=hunter2"
    async with open_gateway(settings, catalog=Backends({}).catalog()) as gateway:
        reply = await get(gateway, "/__config.json")
        shown = msgspec.json.decode(reply.body, type=ConfigDocument)
        assert b"hunter2" not in reply.body
        assert shown.config["endpoints"][0]["endpoint"] == "/e"
        assert shown.config["timeout"] == 2.0
        found = await state_with(gateway, lambda it: it.gateway.config)
        assert found.gateway.config == shown.hash


@pytest.mark.parametrize("path", ["/__state.json", "/__config.json", "/__findings.json"])
async def test_each_document_is_only_for_this_machine(path: str) -> None:
    async with open_gateway(config(), catalog=Backends({}).catalog()) as gateway:
        away = await get(gateway, path, client=("192.0.2.7", 1), server=("192.0.2.1", 9090))
        assert away.status == 403
        assert b"machine" in away.body
        evil = await get(gateway, path, headers=[(b"host", b"evil.test")])
        assert evil.status == 403
        assert (await get(gateway, path, "POST")).status == 405
        assert (await get(gateway, path, "HEAD")).status == 200
        assert (await get(gateway, "/__ready", client=("192.0.2.7", 1))).status in (200, 503)


async def test_with_auth_a_login_is_required() -> None:
    settings = config({"auth": "auth/basic"}, **BASIC)
    async with open_gateway(settings, catalog=Backends({}).catalog()) as gateway:
        refused = await get(gateway, "/__state.json", client=("192.0.2.7", 1))
        assert refused.status == 401
        assert refused.headers["www-authenticate"].startswith("Basic ")
        assert refused.body == b""
        wrong = [(b"host", b"127.0.0.1"), (b"authorization", b"Basic bWU6d3Jvbmc=")]
        assert (await get(gateway, "/__state.json", headers=wrong)).status == 401
        right = [(b"host", b"127.0.0.1"), (b"authorization", b"Basic bWU6c2VjcmV0")]
        assert (await get(gateway, "/__state.json", headers=right)).status == 200


@pytest.mark.parametrize("page", [{"enabled": False}, None])
async def test_without_a_page_nothing_is_counted_and_nothing_is_served(
    page: dict[str, Any] | None,
) -> None:
    settings = config(page)
    if page is None:
        del settings["extra_config"]["gateway"]["management_port"]
    async with open_gateway(settings, catalog=Backends({}).catalog()) as gateway:
        assert (await get(gateway, "/__state.json")).status == 404
        assert (await get(gateway, "/")).status == 404
        assert gateway.readiness()["resources"] == []
        assert gateway._assembly.metrics is None


async def test_the_page_may_have_another_path() -> None:
    async with open_gateway(config({"path": "/ui/"}), catalog=Backends({}).catalog()) as gateway:
        assert (await get(gateway, "/ui/__state.json")).status == 200
        assert (await get(gateway, "/__state.json")).status == 404
        assert (await get(gateway, "/ui/")).status == 200


@pytest.mark.parametrize(
    ("page", "key"),
    [
        ({"auth": "auth/basic"}, "auth"),
        ({"auth": "auth/validator"}, "auth"),
        ({"listen_ip": "everywhere"}, "listen_ip"),
        ({"path": "ui"}, "path"),
        ({"path": "/__ready"}, "path"),
        ({"history": "10s"}, "history"),
        ({"samples": 0}, "samples"),
    ],
)
def test_settings_that_cannot_be_meant_stop_the_start(page: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(config(page))
    assert [each.path for each in caught.value.findings if each.severity == "error"] == [
        f"$.extra_config.gateway.page.{key}"
    ]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"management_port": None, "page": {"samples": 5}}, "no effect: the page is on management"),
        ({"page": {"bodies": True}}, "no effect: bodies are never kept"),
        ({"page": {"listen_ip": "10.9.9.9"}}, "the page cannot be opened"),
    ],
)
def test_settings_without_an_effect_are_findings(changes: dict[str, Any], text: str) -> None:
    settings = config()
    settings["listen_ip"] = "127.0.0.1"
    own = {**settings["extra_config"]["gateway"], **changes}
    settings["extra_config"]["gateway"] = {k: v for k, v in own.items() if v is not None}
    assert any(each.text.startswith(text) for each in load(settings).all_findings)


def test_an_example_of_the_specification_has_no_finding() -> None:
    page = {"enabled": True, "path": "/", "listen_ip": "127.0.0.1", "auth": None}
    page |= {"history": "15m", "samples": 50, "bodies": False}
    settings = {**config(page), "listen_ip": "127.0.0.1"}
    assert not [each for each in load(settings).all_findings if "page" in each.path]


async def test_certificates_are_shown_with_the_days_left(tmp_path: Path) -> None:
    settings = config()
    settings["client_tls"] = {
        "client_certs": [{"certificate": str(tmp_path / "none.pem"), "private_key": "k"}]
    }
    async with open_gateway(settings, catalog=Backends({}).catalog()) as gateway:
        found = await state_with(gateway, lambda it: it.certificates)
        [row] = found.certificates
        assert (row.use, row.path) == ("client", "$.client_tls.client_certs[0]")
        assert "No such file" in row.problem
        assert found.state.level == "amber"


async def test_pipes_are_shown_as_boxes() -> None:
    queue = backend(
        "/q",
        host=["amqp://broker.test/"],
        disable_host_sanitize=True,
        extra_config={"backend/amqp/consumer": {"name": "orders", "exchange": "x"}},
    )
    stage = {"qos/circuit-breaker": {"interval": 1, "timeout": 1, "max_errors": 1}}
    settings = document(backend("/a?key=1", extra_config=stage), queue)
    settings["endpoints"][0]["extra_config"] = {"qos/ratelimit/router": {"max_rate": 10}}
    settings["extra_config"]["gateway"] = {"management_port": 9090}
    async with open_gateway(settings) as gateway:
        reply = await get(gateway, "/__state.json")
        found = msgspec.json.decode(reply.body)
    [endpoint] = found["endpoints"]
    assert endpoint["pipe"] == {
        "guards": [{"kind": "guard", "name": "qos/ratelimit/router"}],
        "branches": [
            [
                {"kind": "http", "name": "http://backend.test/a"},
                {"kind": "stage", "name": "qos/circuit-breaker"},
            ],
            [{"kind": "queue", "name": "orders"}],
        ],
        "merge": "merge",
        "stages": [],
    }
    assert found["limits"] == [
        {"id": "GET /e", "endpoint": "GET /e", "denied": 0, "denied_rate": 0.0}
    ]
    assert found["breakers"][0]["status"] == "closed"
    assert found["queues"][0]["queue"] == "orders"
