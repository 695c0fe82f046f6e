"""``/__stats``: the keys of KrakenD 2.13.8, recorded, and what they count."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from anyio import Event, create_task_group

from gateway import open_gateway
from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.app.service import Gateway
from gateway.app.service import load as load_checked
from gateway.components.stats import split_address
from gateway.components.stats_numbers import Stats, backend_name
from gateway.config.findings import ConfigError
from gateway.config.load import load
from gateway.core.asgi import Message
from gateway.core.component import Listener
from tests.core.seen import NOT_SEEN

from ..http.service import Connection, Service, message, serving
from ..router.support import Client, Reply, ask, http_scope
from .gateways import Document, refusal

OTHER_SUFFIXES = [
    *("50-percentile", "75-percentile", "95-percentile", "99-percentile", "999-percentile"),
    *("max", "mean", "min", "std-dev"),
]
"""Of a distribution, besides ``count``."""

RECORDED = """
proxy.latency.layer.backend.name./fail.complete.false.error.false.count 0
proxy.latency.layer.backend.name./fail.complete.false.error.true.count 2
proxy.latency.layer.backend.name./fail.complete.true.error.false.count 0
proxy.latency.layer.backend.name./fail.complete.true.error.true.count 0
proxy.latency.layer.backend.name./ok.complete.false.error.false.count 1
proxy.latency.layer.backend.name./ok.complete.false.error.true.count 0
proxy.latency.layer.backend.name./ok.complete.true.error.false.count 2
proxy.latency.layer.backend.name./ok.complete.true.error.true.count 0
proxy.latency.layer.backend.name./slow.complete.false.error.false.count 0
proxy.latency.layer.backend.name./slow.complete.false.error.true.count 1
proxy.latency.layer.backend.name./slow.complete.true.error.false.count 0
proxy.latency.layer.backend.name./slow.complete.true.error.true.count 0
proxy.latency.layer.backend.name./slow1.complete.false.error.false.count 0
proxy.latency.layer.backend.name./slow1.complete.false.error.true.count 1
proxy.latency.layer.backend.name./slow1.complete.true.error.false.count 0
proxy.latency.layer.backend.name./slow1.complete.true.error.true.count 0
proxy.latency.layer.backend.name./users/{{.Id}}.complete.false.error.false.count 0
proxy.latency.layer.backend.name./users/{{.Id}}.complete.false.error.true.count 0
proxy.latency.layer.backend.name./users/{{.Id}}.complete.true.error.false.count 1
proxy.latency.layer.backend.name./users/{{.Id}}.complete.true.error.true.count 0
proxy.latency.layer.pipe.name./fail.complete.false.error.false.count 0
proxy.latency.layer.pipe.name./fail.complete.false.error.true.count 1
proxy.latency.layer.pipe.name./fail.complete.true.error.false.count 0
proxy.latency.layer.pipe.name./fail.complete.true.error.true.count 0
proxy.latency.layer.pipe.name./merge.complete.false.error.false.count 0
proxy.latency.layer.pipe.name./merge.complete.false.error.true.count 1
proxy.latency.layer.pipe.name./merge.complete.true.error.false.count 0
proxy.latency.layer.pipe.name./merge.complete.true.error.true.count 0
proxy.latency.layer.pipe.name./one.complete.false.error.false.count 0
proxy.latency.layer.pipe.name./one.complete.false.error.true.count 0
proxy.latency.layer.pipe.name./one.complete.true.error.false.count 2
proxy.latency.layer.pipe.name./one.complete.true.error.true.count 0
proxy.latency.layer.pipe.name./slow.complete.false.error.false.count 0
proxy.latency.layer.pipe.name./slow.complete.false.error.true.count 1
proxy.latency.layer.pipe.name./slow.complete.true.error.false.count 0
proxy.latency.layer.pipe.name./slow.complete.true.error.true.count 0
proxy.latency.layer.pipe.name./slow1.complete.false.error.false.count 0
proxy.latency.layer.pipe.name./slow1.complete.false.error.true.count 1
proxy.latency.layer.pipe.name./slow1.complete.true.error.false.count 0
proxy.latency.layer.pipe.name./slow1.complete.true.error.true.count 0
proxy.latency.layer.pipe.name./users/:id.complete.false.error.false.count 0
proxy.latency.layer.pipe.name./users/:id.complete.false.error.true.count 0
proxy.latency.layer.pipe.name./users/:id.complete.true.error.false.count 1
proxy.latency.layer.pipe.name./users/:id.complete.true.error.true.count 0
proxy.requests.layer.backend.name./fail.complete.false.error.false 0
proxy.requests.layer.backend.name./fail.complete.false.error.true 2
proxy.requests.layer.backend.name./fail.complete.true.error.false 0
proxy.requests.layer.backend.name./fail.complete.true.error.true 0
proxy.requests.layer.backend.name./ok.complete.false.error.false 1
proxy.requests.layer.backend.name./ok.complete.false.error.true 0
proxy.requests.layer.backend.name./ok.complete.true.error.false 2
proxy.requests.layer.backend.name./ok.complete.true.error.true 0
proxy.requests.layer.backend.name./slow.complete.false.error.false 0
proxy.requests.layer.backend.name./slow.complete.false.error.true 1
proxy.requests.layer.backend.name./slow.complete.true.error.false 0
proxy.requests.layer.backend.name./slow.complete.true.error.true 0
proxy.requests.layer.backend.name./slow1.complete.false.error.false 0
proxy.requests.layer.backend.name./slow1.complete.false.error.true 1
proxy.requests.layer.backend.name./slow1.complete.true.error.false 0
proxy.requests.layer.backend.name./slow1.complete.true.error.true 0
proxy.requests.layer.backend.name./users/{{.Id}}.complete.false.error.false 0
proxy.requests.layer.backend.name./users/{{.Id}}.complete.false.error.true 0
proxy.requests.layer.backend.name./users/{{.Id}}.complete.true.error.false 1
proxy.requests.layer.backend.name./users/{{.Id}}.complete.true.error.true 0
proxy.requests.layer.pipe.name./fail.complete.false.error.false 0
proxy.requests.layer.pipe.name./fail.complete.false.error.true 1
proxy.requests.layer.pipe.name./fail.complete.true.error.false 0
proxy.requests.layer.pipe.name./fail.complete.true.error.true 0
proxy.requests.layer.pipe.name./merge.complete.false.error.false 0
proxy.requests.layer.pipe.name./merge.complete.false.error.true 1
proxy.requests.layer.pipe.name./merge.complete.true.error.false 0
proxy.requests.layer.pipe.name./merge.complete.true.error.true 0
proxy.requests.layer.pipe.name./one.complete.false.error.false 0
proxy.requests.layer.pipe.name./one.complete.false.error.true 0
proxy.requests.layer.pipe.name./one.complete.true.error.false 2
proxy.requests.layer.pipe.name./one.complete.true.error.true 0
proxy.requests.layer.pipe.name./slow.complete.false.error.false 0
proxy.requests.layer.pipe.name./slow.complete.false.error.true 1
proxy.requests.layer.pipe.name./slow.complete.true.error.false 0
proxy.requests.layer.pipe.name./slow.complete.true.error.true 0
proxy.requests.layer.pipe.name./slow1.complete.false.error.false 0
proxy.requests.layer.pipe.name./slow1.complete.false.error.true 1
proxy.requests.layer.pipe.name./slow1.complete.true.error.false 0
proxy.requests.layer.pipe.name./slow1.complete.true.error.true 0
proxy.requests.layer.pipe.name./users/:id.complete.false.error.false 0
proxy.requests.layer.pipe.name./users/:id.complete.false.error.true 0
proxy.requests.layer.pipe.name./users/:id.complete.true.error.false 1
proxy.requests.layer.pipe.name./users/:id.complete.true.error.true 0
router.connected 7
router.connected-gauge 0
router.connected-total 0
router.disconnected 7
router.disconnected-gauge 0
router.disconnected-total 0
router.response./fail.size.count 1
router.response./fail.status 0
router.response./fail.status.500.count 1
router.response./fail.time.count 1
router.response./merge.size.count 1
router.response./merge.status 0
router.response./merge.status.200.count 1
router.response./merge.time.count 1
router.response./one.size.count 2
router.response./one.status 0
router.response./one.status.200.count 2
router.response./one.time.count 2
router.response./slow.size.count 1
router.response./slow.status 0
router.response./slow.status.500.count 1
router.response./slow.time.count 1
router.response./slow1.size.count 1
router.response./slow1.status 0
router.response./slow1.status.500.count 1
router.response./slow1.time.count 1
router.response./users/:id.size.count 1
router.response./users/:id.status 0
router.response./users/:id.status.200.count 1
router.response./users/:id.time.count 1
"""
"""Of KrakenD, without ``krakend.`` and ``OTHER_SUFFIXES``, after the requests of ``send_all``."""

DIFFERENT = {
    # KrakenD counts one response of /ok as incomplete: it reads it while the merge changes it.
    "proxy.latency.layer.backend.name./ok.complete.false.error.false.count": 0,
    "proxy.latency.layer.backend.name./ok.complete.true.error.false.count": 3,
    "proxy.requests.layer.backend.name./ok.complete.false.error.false": 0,
    "proxy.requests.layer.backend.name./ok.complete.true.error.false": 3,
    # A client that has disconnected.
    "router.response./slow1.status.499.count": 1,
}

SETTINGS = {"listen_address": "127.0.0.1:8095"}


def recorded() -> dict[str, int]:
    pairs = (line.rsplit(" ", 1) for line in RECORDED.strip().splitlines())
    counts = {key: int(value) for key, value in pairs} | DIFFERENT
    del counts["router.response./slow1.status.500.count"]
    return counts


def answer(
    is_over: threading.Event, service: Service, connection: Connection, request: bytes
) -> bool:
    """``/slow`` and ``/slow1`` do not respond before the end of the test."""
    path = request.split()[1]
    if path.startswith(b"/slow"):
        is_over.wait()
        return False
    status = "500 Internal Server Error" if path == b"/fail" else "200 OK"
    connection.sendall(message(b'{"a":1}', status, "Content-Type: application/json"))
    return True


def configuration(url: str, **settings: object) -> Document:
    def endpoint(path: str, *paths: str, **keys: object) -> Document:
        backends = [
            {"url_pattern": each, "host": [url], **({"group": str(number)} if number else {})}
            for number, each in enumerate(paths)
        ]
        return {"endpoint": path, "backend": backends, **keys}

    return {
        "version": 3,
        "timeout": "20s",
        "endpoints": [
            endpoint("/one", "/ok"),
            endpoint("/users/{id}", "/users/{id}"),
            endpoint("/fail", "/fail"),
            endpoint("/slow", "/slow", timeout="50ms"),
            endpoint("/slow1", "/slow1"),
            endpoint("/merge", "/ok", "/fail"),
        ],
        "extra_config": {"telemetry/metrics": {**SETTINGS, **settings}},
    }


@asynccontextmanager
async def opened(**settings: object) -> AsyncGenerator[Gateway]:
    is_over = threading.Event()
    with serving(partial(answer, is_over)) as service:
        async with open_gateway(configuration(service.url, **settings)) as gateway:
            try:
                yield gateway
            finally:
                is_over.set()


async def send_all(gateway: Gateway) -> None:
    targets = ("/one", "/one", "/users/1", "/merge", "/fail", "/slow", "/nothing")
    statuses = [(await ask(gateway.asgi, "GET", each)).status for each in targets]
    assert statuses == [200, 200, 200, 200, 500, 500, 404]
    await ask_and_disconnect(gateway, "/slow1")


async def ask_and_disconnect(gateway: Gateway, target: str) -> None:
    client, is_over = Client(), Event()
    parts: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        return parts.pop() if parts else {"type": "http.disconnect"}

    async def run() -> None:
        await gateway.asgi(http_scope("GET", target), receive, client.send)
        is_over.set()

    async with create_task_group() as tasks:
        tasks.start_soon(run)
        await is_over.wait()


async def page(gateway: Gateway, target: str = "/__stats", method: str = "GET") -> Reply:
    [listener] = gateway.listeners
    return await ask(listener.app, method, target)


async def read(gateway: Gateway) -> dict[str, Any]:
    numbers: dict[str, Any] = (await page(gateway)).json()
    assert all(key.startswith("krakend.") for key in numbers)
    return {key.removeprefix("krakend."): value for key, value in numbers.items()}


def of_counts(numbers: dict[str, Any]) -> dict[str, Any]:
    """Without the other numbers of distributions."""
    ends = tuple(f".{suffix}" for suffix in OTHER_SUFFIXES)
    return {key: value for key, value in numbers.items() if not key.endswith(ends)}


@pytest.mark.anyio
async def test_keys_and_counts_are_those_of_krakend() -> None:
    async with opened() as gateway:
        await send_all(gateway)
        found = await read(gateway)
        text = (await page(gateway)).body.decode()
    expected = recorded()
    assert of_counts(found) == expected
    distributions = [
        key.removesuffix(".count")
        for key in expected
        if key.endswith((".size.count", ".time.count"))
        or (key.startswith("proxy.latency") and key.endswith(".count"))
    ]
    keys = {f"{each}.{suffix}" for each in distributions for suffix in OTHER_SUFFIXES}
    assert set(found) == {*expected, *keys}
    assert list(found) == sorted(found)
    assert text.startswith('{\n"krakend.proxy.latency.layer.backend.name./fail.complete.false.')
    assert text.endswith("\n}\n")
    assert found["router.response./one.size.max"] == len('{"a":1}')
    assert found["router.response./one.size.std-dev"] == 0
    slow = "proxy.latency.layer.pipe.name./slow.complete.false.error.true"
    assert found[f"{slow}.min"] == found[f"{slow}.max"] > 0.04e9


@pytest.mark.anyio
async def test_before_the_first_request_all_keys_but_those_of_statuses_are_there() -> None:
    async with opened() as gateway:
        found = await read(gateway)
    statuses = {key for key in recorded() if ".status." in key}
    assert of_counts(found) == dict.fromkeys(recorded().keys() - statuses, 0)
    assert set(found.values()) == {0}


LAYERS = {
    "proxy_disabled": "proxy.{}.layer.pipe",
    "backend_disabled": "proxy.{}.layer.backend",
    "router_disabled": "router.response",
}
"""Setting -> how the keys begin that it removes."""


@pytest.mark.anyio
@pytest.mark.parametrize("setting", LAYERS)
async def test_a_disabled_layer_has_no_keys(setting: str) -> None:
    gone = tuple(LAYERS[setting].format(kind) for kind in ("requests", "latency"))
    async with opened(**{setting: True}) as gateway:
        await send_all(gateway)
        found = of_counts(await read(gateway))
    expected = {key: value for key, value in recorded().items() if not key.startswith(gone)}
    if setting == "router_disabled":
        expected |= {key: 0 for key in expected if "connected" in key}
    assert found == expected


@pytest.mark.anyio
async def test_a_disabled_endpoint_opens_no_port_and_counts_nothing() -> None:
    async with opened(endpoint_disabled=True) as gateway:
        assert gateway.listeners == []
        assert (await ask(gateway.management, "GET", "/__stats")).status == 404


@pytest.mark.anyio
async def test_the_page_is_only_at_its_path() -> None:
    async with opened() as gateway:
        [listener] = gateway.listeners
        assert (listener.host, listener.port) == ("127.0.0.1", 8095)
        found = await page(gateway)
        assert found.status == 200
        assert found.headers["content-type"] == "application/json; charset=utf-8"
        redirect = await page(gateway, "/__stats/")
        assert (redirect.status, redirect.headers["location"]) == (301, "/__stats")
        assert (await page(gateway, "/")).status == 404
        assert (await page(gateway, method="POST")).status == 404
        assert (await ask(gateway.asgi, "GET", "/__stats")).status == 404
        assert (await ask(gateway.management, "GET", "/__stats")).status == 200


@pytest.mark.anyio
async def test_only_the_first_worker_opens_the_port_and_all_have_the_management_port() -> None:
    document = configuration("http://127.0.0.1:10")
    async with open_gateway(document, worker=1, workers=2) as gateway:
        assert gateway.listeners == []
        assert (await ask(gateway.management, "GET", "/__stats")).status == 404
    document["extra_config"]["gateway"] = {"management_port": 8096}
    async with open_gateway(document, worker=1, workers=2) as gateway:
        listeners: list[Listener] = gateway.listeners
        assert listeners == []
        assert (await ask(gateway.management, "GET", "/__stats")).status == 200


@pytest.mark.anyio
async def test_an_agent_is_a_pipe_under_its_name() -> None:
    document = configuration("http://127.0.0.1:10")
    agent = {
        "name": "my agent",
        "backend": [{"url_pattern": "/jobs", "host": ["http://127.0.0.1:10"]}],
        "extra_config": {
            "async/amqp": {"name": "jobs", "exchange": "jobs", "host": "amqp://127.0.0.1:10"}
        },
    }
    async with open_gateway({**document, "async_agent": [agent]}) as gateway:
        found = await read(gateway)
    outcome = "complete.true.error.false"
    assert found[f"proxy.requests.layer.pipe.name.my agent.{outcome}"] == 0
    assert found[f"proxy.requests.layer.backend.name./jobs.{outcome}"] == 0
    assert not any(key.startswith("router.response.my") for key in found)


class StoppedClock:
    """A clock that goes on only by hand. In seconds."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_each_period_begins_with_empty_distributions_and_keeps_the_counters() -> None:
    clock = StoppedClock()
    stats = Stats(10, clock)
    responses = stats.responses_of("/a")

    def read_stats() -> tuple[Any, ...]:
        found = numbers_of(stats)
        names = ("connected", "connected-gauge", "connected-total", "disconnected-total")
        assert found["router.connected"] == found["router.disconnected"]
        connected = tuple(found[f"router.{name}"] for name in names)
        response = "router.response./a"
        return *connected, found[f"{response}.time.count"], found[f"{response}.status.200.count"]

    responses.report(200, 5, 0.001, NOT_SEEN)
    responses.report(200, 5, 0.001, NOT_SEEN)
    assert read_stats() == (2, 0, 0, 0, 2, 2)
    clock.time += 10
    assert read_stats() == (0, 2, 2, 2, 0, 2)
    responses.report(200, 5, 0.001, NOT_SEEN)
    assert read_stats() == (1, 2, 2, 2, 1, 3)
    clock.time += 10  # nothing is read in the next period
    responses.report(200, 5, 0.001, NOT_SEEN)
    assert read_stats() == (1, 1, 3, 3, 1, 4)
    clock.time += 20
    assert read_stats() == (0, 0, 4, 4, 0, 4)


def numbers_of(stats: Stats) -> dict[str, Any]:
    found = Reply(200, {}, stats.text()).json()
    return {key.removeprefix("krakend."): value for key, value in found.items()}


def test_percentiles_are_close_to_those_of_krakend() -> None:
    """Its values with two samples, recorded (``/one.time`` and ``/fail``)."""
    stats = Stats(60, StoppedClock())
    responses = stats.responses_of("/one")
    for nanoseconds in (319917, 687986):
        responses.report(200, 21, nanoseconds / 1e9, NOT_SEEN)
    found = numbers_of(stats)
    time_ = {suffix: found[f"router.response./one.time.{suffix}"] for suffix in OTHER_SUFFIXES}
    assert time_ == {
        "50-percentile": 503951.5,
        "75-percentile": 687986,
        "95-percentile": 687986,
        "99-percentile": 687986,
        "999-percentile": 687986,
        "max": 687986,
        "mean": 503951.5,
        "min": 319917,
        "std-dev": 184034.5,
    }


def test_a_key_with_quotes_is_json() -> None:
    stats = Stats(60)
    stats.calls_of(("backend", '/a"b'))
    assert 'proxy.requests.layer.backend.name./a"b.complete.true.error.false' in numbers_of(stats)


@pytest.mark.parametrize(
    ("url_pattern", "name"),
    [
        ("/users/{id}", "/users/{{.Id}}"),
        ("a/{OrderId}/b", "/a/{{.OrderId}}/b"),
        ("/x/{resp0_a.id}", "/x/{{.Resp0_a.id}}"),
        ("", "/"),
        ("/orders/{id}?api_key=secret", "/orders/{{.Id}}"),
    ],
)
def test_a_backend_has_the_name_that_krakend_gives_it(url_pattern: str, name: str) -> None:
    assert backend_name(url_pattern) == name


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (":8090", ("", 8090)),
        ("", ("", 8090)),
        ("8091", ("", 8091)),
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_an_address_is_a_port_or_an_ip_and_a_port(address: str, expected: tuple[str, int]) -> None:
    assert split_address(address) == expected


@pytest.mark.parametrize(
    "address", [":", ":0", "0", ":65536", ":-1", ":²", "localhost:8090", ":8090 "]
)
def test_any_other_address_stops_the_start(address: str) -> None:
    document = {"version": 3, "extra_config": {"telemetry/metrics": {"listen_address": address}}}
    with pytest.raises(ConfigError) as raised:
        load_checked(document, environ={})
    assert f'expected ":port" or "ip:port", found "{address}"' in str(raised.value)


@pytest.mark.parametrize(("address", "port"), [(8091, 8091), ("8091", 8091), ("", 8090)])
def test_a_number_is_a_port_and_an_empty_address_the_default(address: int | str, port: int) -> None:
    extra = {"telemetry/metrics": {"listen_address": address}}
    loaded = load_checked({"version": 3, "extra_config": extra}, environ={})
    found = loaded.service.extra_config["telemetry/metrics"].listen_address
    assert split_address(found) == ("", port)


@pytest.mark.parametrize("seconds", ["0s", "-1s"])
def test_a_collection_time_that_is_not_above_zero_stops_the_start(seconds: str) -> None:
    settings = {"collection_time": seconds}
    assert "collection_time" in refusal(
        {"version": 3, "extra_config": {"telemetry/metrics": settings}}
    )


def found_by_check(settings: Document, **own: object) -> list[tuple[str, str]]:
    extra = {"telemetry/metrics": settings, "gateway": own}
    loaded = load({"version": 3, "extra_config": extra}, CATALOG, {})
    assert not loaded.findings
    return [(each.severity, each.text) for each in check(loaded.service, CATALOG)]


def test_check_says_what_the_numbers_are_of() -> None:
    (port, text), (_, left_out), *_ = found_by_check({})
    assert port == "hint"
    assert "with several workers" in text
    assert "krakend.service" in left_out
    assert found_by_check({"endpoint_disabled": True})[0][0] == "warning"


def test_the_name_of_earlier_versions_is_the_same_namespace() -> None:
    extra = {"github_com/devopsfaith/krakend-metrics": {"listen_address": ":1"}}
    loaded = load({"version": 3, "extra_config": extra}, CATALOG, {})
    assert loaded.service.extra_config["telemetry/metrics"].listen_address == ":1"
