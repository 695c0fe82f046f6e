"""What a gateway shows to Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

from gateway.app.service import Gateway
from gateway.components.otel.opentelemetry import PATH

from ...router.support import Client, http_scope

Labels: TypeAlias = dict[str, str]

SETTINGS = {"exporters": {"prometheus": [{"name": "test", "port": 1}]}}
"""A port of its own is opened by ``gateway run`` only: the tests read the management port."""

_LINE = re.compile(r"([\w:]+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


async def scrape(gateway: Gateway) -> str:
    client = Client()
    await gateway.management(http_scope("GET", PATH), client.receive, client.send)
    assert client.reply.status == 200
    return client.reply.body.decode()


def series(text: str, name: str, *without: str) -> Iterator[tuple[Labels, float]]:
    """Labels and value of each series, without OpenTelemetry's scope and the labels ``without``."""
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found is not None and found[1] == name:
            labels = dict(_LABEL.findall(found[2] or ""))
            for other in ("otel_scope_name", "otel_scope_version", *without):
                labels.pop(other, None)
            yield labels, float(found[3])


def names(text: str) -> set[str]:
    """The names of all families."""
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
