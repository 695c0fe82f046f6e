"""Each exporter shows what its own settings say; all of them read the same metrics."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.app.service import load, open_gateway
from gateway.components.otel.settings import NAMESPACE, Histograms
from gateway.components.otel.shared_metrics import open_metric_files
from gateway.config.findings import ConfigError
from gateway.core.asgi import ASGIApp

from ...router.support import Client, http_scope
from .collectors import open_http_collector

pytestmark = pytest.mark.anyio

FLAGS: list[dict[str, Any]] = [
    {"port": 1},
    {"port": 2, "process_metrics": True},
    {"port": 3, "go_metrics": True},
]


def config(*exporters: dict[str, Any]) -> dict[str, Any]:
    settings = {"exporters": {"prometheus": exporters}}
    return {"version": 3, "extra_config": {NAMESPACE: settings}}


async def families(app: ASGIApp) -> set[str]:
    """The first words of the names, without the gateway's own."""
    client = Client()
    await app(http_scope("GET", "/metrics"), client.receive, client.send)
    assert client.reply.status == 200
    return set(re.findall("^# TYPE ([a-z]+)_", client.reply.body.decode(), re.MULTILINE)) - {
        "hutch"
    }


async def test_an_exporter_without_the_flag_does_not_show_the_process_or_python() -> None:
    async with open_gateway(config(*FLAGS)) as gateway:
        shown = [await families(each.app) for each in gateway.listeners]
        assert shown == [{"target"}, {"process", "target"}, {"python", "target"}]
        assert await families(gateway.management) == {"process", "python", "target"}


async def test_without_a_flag_nothing_about_the_process_is_read() -> None:
    async with open_gateway(config(FLAGS[0])) as gateway:
        assert await families(gateway.management) == {"target"}


async def test_only_the_first_of_several_workers_has_the_ports() -> None:
    for worker, ports in ((0, [1, 2, 3]), (1, [])):
        async with open_gateway(config(*FLAGS), worker=worker, workers=2) as gateway:
            assert [each.port for each in gateway.listeners] == ports
            assert await families(gateway.management) == {"process", "python", "target"}


@pytest.mark.parametrize("exporter", [{"listen_ip": "no.such.host"}, {"host": "9090"}])
def test_an_exporter_listens_on_an_ip_address(exporter: dict[str, Any]) -> None:
    [key] = exporter
    with pytest.raises(ConfigError, match=rf"prometheus\[0\]\.{key}: expected an IP address"):
        load(config(exporter))
    load(config({**exporter, "disable_metrics": True}))


@pytest.mark.parametrize("bounds", [[], [2, 1], [1, 1]])
def test_bounds_that_are_not_possible_are_replaced_by_the_default(bounds: list[float]) -> None:
    document = config({})
    document["extra_config"][NAMESPACE]["histograms"] = {"size_buckets": bounds}
    loaded = load(document)
    [warning] = [each for each in loaded.all_findings if each.severity == "warning"]
    assert warning.path == f'$.extra_config["{NAMESPACE}"].histograms.size_buckets'
    assert warning.text.endswith("the default is used")
    assert loaded.service.extra_config[NAMESPACE].buckets == Histograms()


@pytest.mark.parametrize(
    ("exporters", "own", "is_stored"),
    [
        ({}, {}, False),
        ({}, {"management_port": 0}, True),
        ({"prometheus": [{"name": "p"}]}, {}, True),
    ],
)
async def test_workers_store_metrics_only_for_a_port(
    exporters: dict[str, Any], own: dict[str, Any], is_stored: bool
) -> None:
    with open_http_collector() as collector, open_metric_files(2) as files:
        otlp = {"name": "o", "host": "127.0.0.1", "port": collector.port, "use_http": True}
        extra = {NAMESPACE: {"exporters": {**exporters, "otlp": [otlp]}}, "gateway": own}
        document = {"version": 3, "extra_config": extra}
        async with open_gateway(document, worker=1, workers=2, shared_metrics=files) as gateway:
            resources = gateway.readiness()["resources"]
    kinds = {each["kind"] for each in resources}
    assert "otlp" in kinds
    assert ("metrics" in kinds) is is_stored


@pytest.mark.parametrize(
    ("exporter", "own", "hints"),
    [
        ({"port": 9091}, {}, [("[0]", "/metrics is on port 9091 of every address")]),
        ({"listen_ip": "127.0.0.1"}, {}, [("[0]", "/metrics is on port 9090 of 127.0.0.1")]),
        (
            {"port": 9091},
            {"management_port": 8090},
            [
                ("[0]", "/metrics is on port 9091 of every address"),
                ("", "/metrics is on management_port, too: 8090"),
            ],
        ),
        (
            {"disable_metrics": True},
            {"management_port": 8090},
            [
                ("[0]", "off: disable_metrics"),
                ("", "no exporter reads the metrics, so nothing is counted"),
            ],
        ),
    ],
)
def test_check_says_where_the_metrics_are(
    exporter: dict[str, Any], own: dict[str, Any], hints: list[tuple[str, str]]
) -> None:
    document = config(exporter)
    document["extra_config"]["gateway"] = own
    start = f'$.extra_config["{NAMESPACE}"]'
    found = [
        (each.path.removeprefix(start).removeprefix(".exporters.prometheus"), each.text)
        for each in load(document).all_findings
        if each.severity == "hint" and each.path.startswith(start)
    ]
    assert found == hints


@pytest.mark.parametrize(("exporter", "hints"), [(FLAGS[1], 0), (FLAGS[2], 1)])
def test_check_says_that_metrics_are_of_python_and_not_of_go(
    exporter: dict[str, Any], hints: int
) -> None:
    found = [each for each in load(config(exporter)).all_findings if "Python" in each.text]
    assert [each.severity for each in found] == ["hint"] * hints
