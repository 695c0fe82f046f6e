"""Figures as text, the same in the terminal and in the page. Pure."""

from __future__ import annotations

from ..account import Account
from ..machine import Machine
from ..summary import KEPT_UP, Cell, Spread, Sweep

NOTHING = "–"
NOT_COUNTED = "not counted"

BUSY = 0.5
"""Load of a core, in the minute before a run, above which other work is likely in the figures."""


def number(value: float) -> str:
    """Three digits that count."""
    if not value:
        return "0"
    if value >= 1000:
        return f"{value:,.0f}".replace(",", "\u202f")
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def with_range(spread: Spread | None) -> str:
    """The median, in brackets the least and the most."""
    if spread is None:
        return NOTHING
    if spread.least == spread.most:
        return number(spread.median)
    return f"{number(spread.median)} ({number(spread.least)}–{number(spread.most)})"


def middle(spread: Spread | None) -> str:
    return NOTHING if spread is None else number(spread.median)


def times(ratio: Spread | None) -> str:
    return NOTHING if ratio is None else f"×{ratio.median:.2f}"


def offered(cell: Cell) -> str:
    """The rate of the open loop; what was achieved as well, when that is less."""
    if not cell.offered:
        return NOTHING
    if cell.achieved < KEPT_UP * cell.offered:
        return f"{number(cell.achieved)} of {number(cell.offered)}"
    return number(cell.offered)


def kept_up(sweep: Sweep) -> str:
    """What a sweep comes to."""
    if not sweep.knee:
        return "no knee seen"
    text = f"keeps up with {number(sweep.knee)}/s"
    half = sweep.half
    if half is None:
        return text
    doubt = "" if half.is_valid else f" ({NOT_COUNTED})"
    text += f"; p99 at half of it ({number(half.offered)}/s) {number(half.p99)} ms{doubt}"
    beside = sweep.beside
    if beside is None or not beside.is_valid:
        return text
    return f"{text}; the broker's confirm beside the floor {number(beside.p99)} ms"


def failures(cell: Cell) -> str:
    """ "none" for no answer at all."""
    if not cell.failures:
        return "0"
    return ", ".join(
        f"{count} × {status or 'none'}" for status, count in sorted(cell.failures.items())
    )


def messages(account: Account | None) -> str:
    """Lost and duplicated, of how many."""
    if account is None:
        return NOTHING
    if account.is_clean:
        return f"0 of {number(account.numbered)}"
    return f"{account.lost} lost, {account.duplicated} twice"


def refusals(cell: Cell) -> str:
    """Each reason once."""
    return "; ".join(dict.fromkeys(cell.refused))


def busy(machine: Machine) -> str:
    """A warning; "" when the machine had little else to do."""
    if machine.load <= BUSY * machine.cores:
        return ""
    return (
        f"The machine was busy before this run (load {machine.load:.1f} on {machine.cores} cores): "
        "latencies may be those of other work."
    )
