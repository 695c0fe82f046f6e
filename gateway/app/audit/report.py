"""Recommendations as a table for people, or as JSON. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import msgspec

from ...config.findings import Places
from ...core.rule import SEVERITIES
from . import Recommendation

COLOURS = {"CRITICAL": "1;31", "HIGH": "31", "MEDIUM": "33", "LOW": "36"}
SHOWN = 3
"""Places of one rule that a table shows."""


def as_json(found: Sequence[Recommendation]) -> str:
    """KrakenD's shape, and the paths."""
    encoded = msgspec.json.encode({"recommendations": found, "stats": {}})
    return msgspec.json.format(encoded, indent=2).decode()


def as_table(found: Sequence[Recommendation], places: Places, width: int, has_colours: bool) -> str:
    """A block for each rule: its number, severity and message, and below them where."""
    lines = []
    for each in found:
        margin = " " * 18
        text = textwrap.fill(
            each.message, max(width, 40), initial_indent=margin, subsequent_indent=margin
        )
        severity = f"{each.severity:<9}"
        if has_colours:
            severity = f"\x1b[{COLOURS[each.severity]}m{severity}\x1b[0m"
        lines.append(f"{each.rule:<8}{severity} {text.strip()}")
        if each.paths != ("$",):
            lines += [f"{margin}{places.with_name(path)}" for path in each.paths[:SHOWN]]
        if len(each.paths) > SHOWN:
            lines.append(f"{margin}and {len(each.paths) - SHOWN} more")
    return "\n".join([*lines, "", _summary(found)] if lines else [_summary(found)])


def _summary(found: Sequence[Recommendation]) -> str:
    if not found:
        return "Nothing to recommend."
    counts = {name: sum(each.severity == name for each in found) for name in SEVERITIES}
    counted = ", ".join(f"{count} {name.lower()}" for name, count in counts.items() if count)
    return (
        f"{len(found)} recommendations: {counted}"
        if len(found) > 1
        else f"1 recommendation: {counted}"
    )
