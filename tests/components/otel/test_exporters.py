"""Each exporter shows what its own settings say; all of them read the same metrics."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.app.service import load, open_gateway
from gateway.components.otel.settings import NAMESPACE
from gateway.core.asgi import ASGIApp

from ...router.support import Client, http_scope

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


@pytest.mark.parametrize(("exporter", "hints"), [(FLAGS[1], 0), (FLAGS[2], 1)])
def test_check_says_that_metrics_are_of_python_and_not_of_go(
    exporter: dict[str, Any], hints: int
) -> None:
    found = [each for each in load(config(exporter)).all_findings if "Python" in each.text]
    assert [each.severity for each in found] == ["hint"] * hints
