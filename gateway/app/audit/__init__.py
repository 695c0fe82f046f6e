"""What a configuration that runs could do better: rules over the loaded service. Pure.

A rule about one namespace is in the row of that namespace (``advice``), the others are in
``service.py``. The rules of KrakenD keep their numbers (krakend-audit, audit.go); those of this
gateway begin with 8 (RabbitMQ) and 9 (the gateway). Not here: the rules about gRPC, plugins,
metrics, traces and settings that this gateway does not have (``check`` names them), and those whose
fault stops the start anyway.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from ...config.load import Loaded
from ...core.component import Catalog
from ...core.review import Recommendation, Review
from ...core.rule import SEVERITIES, Rule
from ..check import with_check_findings
from . import service

__all__ = ["Recommendation", "audit", "review", "rules"]


def rules(catalog: Catalog) -> list[Rule]:
    """Those of the service and of the components, by their numbers."""
    found = [*service.RULES, *(rule for row in catalog for rule in row.advice)]
    return sorted(found, key=lambda rule: tuple(map(int, rule.number.split("."))))


def audit(
    loaded: Loaded,
    catalog: Catalog,
    ignored: Container[str] = (),
    severities: Container[str] = SEVERITIES,
) -> Iterator[Recommendation]:
    """What is to be recommended, in the order of the rules. ``ignored``: numbers of rules."""
    for rule in rules(catalog):
        if rule.number in ignored or rule.severity not in severities:
            continue
        places = map(loaded.places.in_file, rule.places(loaded.service))
        if paths := tuple(dict.fromkeys(places)):
            yield Recommendation(rule.number, rule.severity, rule.message, paths)


def review(loaded: Loaded, catalog: Catalog) -> Review:
    """All that ``check`` and ``audit`` say about a configuration that runs."""
    checked = loaded if loaded.check_findings else with_check_findings(loaded, catalog)
    return Review(
        checked.all_findings,
        tuple(audit(loaded, catalog)),
        loaded.places.names,
        loaded.placeholders,
        loaded.places.file,
    )
