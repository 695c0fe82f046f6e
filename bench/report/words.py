"""Figures as text, the same in the terminal and in the HTML report. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..accounting import Accounting
from ..document import Document, Named
from ..machine import Machine
from ..summary import Cell, Spread
from ..sweeps import SUSTAINED, Sweep

NOTHING = "–"
NOT_COUNTED = "not counted"

BUSY = 0.5
"""Load of a core, in the minute before a run, above which other work is likely in the figures."""


def number(value: float) -> str:
    """At least three significant digits."""
    if not value:
        return "0"
    if value >= 1000:
        return whole(round(value))
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def whole(count: int) -> str:
    """A count, in groups of three digits."""
    return f"{count:,}".replace(",", "\u202f")


def with_range(spread: Spread | None) -> str:
    """The median, and the range in brackets."""
    if spread is None:
        return NOTHING
    if spread.low == spread.high:
        return number(spread.median)
    return f"{number(spread.median)} ({number(spread.low)}–{number(spread.high)})"


def middle(spread: Spread | None) -> str:
    return NOTHING if spread is None else number(spread.median)


def times(ratio: Spread | None) -> str:
    return NOTHING if ratio is None else f"×{ratio.median:.2f}"


def offered(cell: Cell) -> str:
    """The rate of the open loop, and the achieved rate when that is lower."""
    if not cell.offered:
        return NOTHING
    if cell.achieved < SUSTAINED * cell.offered:
        return f"{number(cell.achieved)} of {number(cell.offered)}"
    return number(cell.offered)


def sweep_summary(sweep: Sweep) -> str:
    """The result of a sweep in one line."""
    if not sweep.saturation_point:
        return "no saturation point found"
    text = f"sustains {number(sweep.saturation_point)}/s"
    half = sweep.half
    if half is None:
        return text
    doubt = "" if half.is_valid else f" ({NOT_COUNTED})"
    text += f"; p99 at half of it ({number(half.offered)}/s) {number(half.p99)} ms{doubt}"
    confirm = sweep.confirm
    if confirm is None or not confirm.is_valid:
        return text
    return f"{text}; p99 of the broker's confirm at that rate {number(confirm.p99)} ms"


def counts(numbers: Iterable[int]) -> str:
    """How many requests each candidate got."""
    each = sorted(numbers)
    text = " to ".join(dict.fromkeys((whole(each[0]), whole(each[-1]))))
    return f"{text} requests each"


def sizes(document: Document, scenario: Named) -> str:
    """Bytes of a request's body and of a response's; "" when they are not known."""
    responses = {
        life.candidate: life.response_bytes
        for life in document.lives
        if life.scenario == scenario.name and life.response_bytes
    }
    gateways = [each.name for each in document.candidates if each.baseline]
    response = next((responses[name] for name in gateways if name in responses), 0)
    parts = {
        "message": scenario.message_bytes,
        "request": scenario.request_bytes,
        "response": response,
    }
    return ", ".join(f"{what} {whole(size)} bytes" for what, size in parts.items() if size)


def statuses(every: Sequence[Cell]) -> list[int]:
    """Every status that occurs; the last one is 0, for no response."""
    found = {status for cell in every for status in cell.statuses}
    return sorted(found, key=lambda status: status or 1000)


def failures(cell: Cell) -> str:
    """Failed requests by status; "none" for requests without a response."""
    if not cell.failures:
        return "0"
    return ", ".join(
        f"{count} × {status or 'none'}"
        for status, count in sorted(cell.statuses.items())
        if not 200 <= status < 300
    )


def messages(accounting: Accounting | None) -> str:
    """Lost and duplicated messages."""
    if accounting is None:
        return NOTHING
    if accounting.is_clean:
        return f"0 of {number(accounting.numbered)}"
    return f"{accounting.lost} lost, {accounting.duplicated} duplicated"


def refusals(cell: Cell) -> str:
    """Why runs are not counted; each reason once."""
    return "; ".join(dict.fromkeys(cell.refused))


def busy(machine: Machine) -> str:
    """A warning; "" when the machine had little else to do."""
    if machine.load <= BUSY * machine.cores:
        return ""
    return (
        f"The machine was busy before this run (load {machine.load:.1f} on {machine.cores} cores): "
        "latencies may be those of other work."
    )
