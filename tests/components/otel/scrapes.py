"""What Prometheus reads of a gateway, and configurations that are measured."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from gateway.app.service import Gateway

from ...router.support import ask

NAMESPACE = "telemetry/opentelemetry"

_LINE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Line(NamedTuple):
    """A line of a scrape. Without the labels of the scope."""

    name: str
    labels: dict[str, str]
    value: float


class Scrape:
    """The text of ``/metrics``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = []
        for line in text.splitlines():
            if not line.startswith("#"):
                found = _LINE.fullmatch(line)
                assert found is not None, line
                labels = dict(_LABEL.findall(found[2] or ""))
                own = {name: labels[name] for name in labels if "otel_scope" not in name}
                self.lines.append(Line(found[1], own, float(found[3])))

    def types(self, prefix: str) -> dict[str, str]:
        """Name and type of each family."""
        found = re.findall(rf"# TYPE ({prefix}\w*) (\w+)", self.text)
        return dict(found)

    def help(self, name: str) -> str:
        found = re.search(rf"# HELP {name} (.*)", self.text)
        assert found is not None
        return found[1]

    def series(self, name: str, **labels: str) -> list[Line]:
        """The lines of that name that have these labels."""
        wanted = labels.items()
        return [each for each in self.lines if each.name == name and wanted <= each.labels.items()]

    def value(self, name: str, **labels: str) -> float:
        """The sum of these lines; -1: there is none."""
        found = self.series(name, **labels)
        return sum(each.value for each in found) if found else -1


async def scrape(gateway: Gateway) -> Scrape:
    reply = await ask(gateway.listeners[0].app, "GET", "/metrics")
    assert reply.status == 200
    return Scrape(reply.body.decode())


def measured(*endpoints: dict[str, Any], layers: Any = None, **settings: Any) -> dict[str, Any]:
    """A configuration with an exporter for Prometheus."""
    own = {"exporters": {"prometheus": [{"name": "p"}]}, "layers": layers, **settings}
    return {
        "version": 3,
        "timeout": "100s",
        "endpoints": list(endpoints),
        "extra_config": {NAMESPACE: own},
    }
