"""What a configuration that runs could do better: rules over the loaded service. Pure.

Those of KrakenD keep their numbers; ours begin with 8 (RabbitMQ) and 9 (the gateway).
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import chain

from msgspec import Struct

from ...config.load import Loaded
from . import amqp, edge, krakend
from .rule import SEVERITIES, Rule, Severity

RULES: tuple[Rule, ...] = tuple(
    sorted(
        chain(krakend.RULES, amqp.RULES, edge.RULES),
        key=lambda rule: tuple(map(int, rule.number.split("."))),
    )
)


class Recommendation(Struct, frozen=True):
    """A rule that holds. ``paths``: where in the file, as in ``$.endpoints[0]``."""

    rule: str
    severity: Severity
    message: str
    paths: tuple[str, ...]


def audit(
    loaded: Loaded,
    ignored: Container[str] = (),
    severities: Container[str] = SEVERITIES,
) -> Iterator[Recommendation]:
    """What is to be recommended, in the order of the rules. ``ignored``: numbers of rules."""
    for rule in RULES:
        if rule.number in ignored or rule.severity not in severities:
            continue
        places = map(loaded.places.in_file, rule.places(loaded.service))
        if paths := tuple(dict.fromkeys(places)):
            yield Recommendation(rule.number, rule.severity, rule.message, paths)
