"""What a gateway shows to Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

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


def comments(text: str, keyword: str) -> dict[str, str]:
    """The rest of each comment by the name of its family. ``keyword``: ``TYPE`` or ``HELP``."""
    found = (line.split(" ", 3) for line in text.splitlines() if line.startswith(f"# {keyword} "))
    return {name: rest for _, _, name, rest in found}


class Scrape(NamedTuple):
    """A scrape, of which tests look at the series with some labels."""

    text: str

    def values(self, name: str, **labels: str) -> list[float]:
        """Of all series that have these labels."""
        found = series(self.text, name)
        return [value for own, value in found if labels.items() <= own.items()]

    def value(self, name: str, **labels: str) -> float:
        """Their sum."""
        return sum(self.values(name, **labels))
