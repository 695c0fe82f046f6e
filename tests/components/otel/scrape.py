"""What Prometheus reads, as tests look at it."""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.core.asgi import ASGIApp

from ...router.support import ask

SETTINGS = {"telemetry/opentelemetry": {"exporters": {"prometheus": [{"name": "test"}]}}}
"""``extra_config`` of the root."""

_SERIES = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Scrape(NamedTuple):
    """``families``: their kinds. ``helps``: their help texts. ``series``: values by name and
    labels."""

    families: dict[str, str]
    helps: dict[str, str]
    series: list[tuple[str, dict[str, str], float]]

    def values(self, name: str, **labels: str) -> list[float]:
        """The values of all series of that name that have these labels."""
        return [
            value
            for each, own, value in self.series
            if each == name and labels.items() <= own.items()
        ]

    def value(self, name: str, **labels: str) -> float:
        """The sum of :meth:`values`."""
        return sum(self.values(name, **labels))

    def labels(self, name: str) -> list[dict[str, str]]:
        return [own for each, own, _ in self.series if each == name]


def parse(text: str) -> Scrape:
    scrape = Scrape({}, {}, [])
    for line in text.splitlines():
        if line.startswith("# "):
            _, keyword, name, rest = line.split(" ", 3)
            (scrape.families if keyword == "TYPE" else scrape.helps)[name] = rest
        else:
            found = _SERIES.fullmatch(line)
            assert found is not None, line
            labels = dict(_LABEL.findall(found[2] or ""))
            scrape.series.append((found[1], labels, float(found[3])))
    return scrape


async def read(management: ASGIApp) -> Scrape:
    """Scrape ``/metrics`` of a management application."""
    reply = await ask(management, "GET", "/metrics")
    assert reply.status == 200
    return parse(reply.body.decode())
