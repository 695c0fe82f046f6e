"""The result as one page: no script, no network, light and dark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from ..compare import Change
from ..document import Document
from ..summary import Cell, Spread, cells
from .charts import bars, latencies, sweep_cards
from .words import NOTHING, failures, messages, number, offered, refusals, times

STYLE = Path(__file__).with_name("page.css")
COLOURS = 6


def page(document: Document, found: Sequence[Change] = ()) -> str:
    every = cells(document)
    kinds = colours(document)
    parts = [
        _head(document),
        _tiles(document, every),
        _warnings(document, every),
        _changes(found),
        bars(document, every, kinds),
        latencies(document, every, kinds),
        sweep_cards(document, kinds),
        _tables(document, every, kinds),
        READING,
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Hutch Gateway {escape(document.version)}: benchmark</title>"
        f"<style>{STYLE.read_text()}</style></head><body><main>{''.join(parts)}</main></body>"
        "</html>"
    )


def colours(document: Document) -> dict[str, str]:
    """CSS classes for each candidate; floors are grey, those of single scenarios dotted."""
    floors = {
        **{each.floor: "floor beside" for each in document.scenarios},
        **{each.floor: "floor" for each in document.candidates},
    }
    measured = [each.name for each in document.candidates if each.name not in floors]
    colour = {name: f"c{index % COLOURS}" for index, name in enumerate(measured)}
    return {each.name: (floors | colour)[each.name] for each in document.candidates}


def _head(document: Document) -> str:
    machine = document.machine
    facts = {
        "measured": document.started.replace("T", " ").replace("+00:00", " UTC"),
        "machine": f"{machine.processor}, {machine.cores} cores, {machine.memory / 2**30:.0f} GiB",
        "load before": f"{machine.load:.2f}",
        "loads": f"{document.repetitions} × {document.seconds:g} s",
        **machine.versions,
    }
    listed = "".join(
        f"<span>{escape(name)} <b>{escape(value)}</b></span>" for name, value in facts.items()
    )
    return (
        f"<h1>Hutch Gateway {escape(document.version)}: throughput and latency</h1>"
        f'<div class="facts">{listed}</div>'
    )


def _tiles(document: Document, every: Sequence[Cell]) -> str:
    """The default scenarios first."""
    scenarios = {each.name: each for each in document.scenarios if not each.floor}
    own = next((each.name for each in document.candidates if each.floor), "")
    shown = [
        cell
        for cell in every
        if cell.candidate == own and cell.cpu_ratio is not None and cell.scenario in scenarios
    ]
    shown = sorted(shown, key=lambda cell: not scenarios[cell.scenario].is_default)[:6]
    if not shown:
        return ""
    tiles = "".join(
        f'<div class="tile"><div class="what">{escape(scenarios[cell.scenario].title)}</div>'
        f'<div class="big">{times(cell.cpu_ratio)}</div><div class="more">{_more(cell)}</div></div>'
        for cell in shown
    )
    return (
        f'<div class="tiles">{tiles}</div><p class="sub" style="margin-top:8px">CPU per request of '
        "the gateway, as times that of a minimal ASGI application on the same server.</p>"
    )


def _more(cell: Cell) -> str:
    rate = f"{number(cell.rate.median)}/s" if cell.rate else NOTHING
    return f"{rate} · p99 {number(cell.latency.p99.median)} ms" if cell.latency else rate


def _warnings(document: Document, every: Sequence[Cell]) -> str:
    titles = {each.name: each.title for each in document.candidates}
    lines = [
        f"{cell.scenario}, {titles[cell.candidate]}: {refusals(cell)}"
        for cell in every
        if cell.refused
    ]
    parts = [f'<div class="warn">{escape(note)}</div>' for note in document.notes]
    if lines:
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        parts.append(
            '<details class="warn"><summary>Some runs are not counted, because they say more about '
            f"the measurement than about a candidate ({len(lines)})</summary>"
            f"<ul>{items}</ul></details>"
        )
    return "".join(parts)


def _changes(found: Sequence[Change]) -> str:
    if not found:
        return ""
    items = "".join(
        f'<li class="{"bad" if change.is_worse else "good"}">{escape(str(change))}</li>'
        for change in found
    )
    return f"<h2>Beyond the noise of an earlier run</h2><ul>{items}</ul>"


def _tables(document: Document, every: Sequence[Cell], kinds: dict[str, str]) -> str:
    steady = [cell for cell in every if cell.latency is not None]
    return (
        "<h2>All figures</h2><p>The median of the repetitions; small, the least and the most.</p>"
        + _table(document, every, kinds, COSTS, _costs)
        + (_table(document, steady, kinds, TIMES, _times) if steady else "")
    )


def _table(
    document: Document,
    every: Sequence[Cell],
    kinds: dict[str, str],
    heads: Sequence[str],
    columns: Callable[[Cell], list[str]],
) -> str:
    scenarios = {each.name: each.title for each in document.scenarios}
    titles = {each.name: each.title for each in document.candidates}
    rows, last = [], ""
    for cell in every:
        is_first = cell.scenario != last
        classes = ("first " if is_first else "") + ("of-floor" * ("floor" in kinds[cell.candidate]))
        name = scenarios[cell.scenario] if is_first else ""
        values = [escape(name), escape(titles[cell.candidate]), *columns(cell)]
        rows.append(f'<tr class="{classes}">{"".join(f"<td>{each}</td>" for each in values)}</tr>')
        last = cell.scenario
    head = "".join(f"<th>{each}</th>" for each in ("scenario", "candidate", *heads))
    return (
        f'<div class="card"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
        "</table></div>"
    )


COSTS = (
    "CPU / floor", "CPU µs", "requests/s", "broker µs", "start s", "MiB", "failed", "lost or twice"
)  # fmt: skip
TIMES = ("p99 / floor", "CPU / floor", "CPU µs", "at /s", "p50 ms", "p90", "p99", "p99.9", "max")


def _costs(cell: Cell) -> list[str]:
    account, failed = escape(messages(cell.account)), escape(failures(cell))
    if cell.account is not None and not cell.account.is_clean:
        account = f'<span class="bad">{account}</span>'
    return [
        _times_ranged(cell.cpu_ratio),
        *(_ranged(each) for each in (cell.cpu, cell.rate, cell.broker_cpu, cell.start)),
        f"{cell.resident / 2**20:.0f}" if cell.resident else NOTHING,
        f'<span class="bad">{failed}</span>' if cell.failures else failed,
        account,
    ]


def _times(cell: Cell) -> list[str]:
    latency = cell.latency
    assert latency is not None
    gap = f"<small>no answer for {number(cell.gap.median)} s</small>" if cell.gap else ""
    return [
        _times_ranged(cell.p99_ratio),
        _times_ranged(cell.steady_cpu_ratio),
        _ranged(cell.steady_cpu),
        offered(cell),
        *(_ranged(each) for each in (latency.p50, latency.p90, latency.p99, latency.p999)),
        _ranged(latency.max) + gap,
    ]


def _times_ranged(ratio: Spread | None) -> str:
    return NOTHING if ratio is None else f"×{_ranged(ratio)}"


def _ranged(spread: Spread | None) -> str:
    if spread is None:
        return NOTHING
    if spread.least == spread.most:
        return number(spread.median)
    low, high = number(spread.least), number(spread.most)
    return f"{number(spread.median)}<small>{low}–{high}</small>"


READING = """<h2>How to read this</h2><ul>
<li><b>The floor</b> is the least an ASGI application can do on the same server, measured
within seconds of its neighbours. A ratio to it carries over to other machines; a microsecond
does not. Of agents it is the same loop by hand; of clients that wait, the delivery without
HTTP.</li>
<li><b>CPU</b> is user and system time of all processes of a candidate, divided by answers, at
saturation. <b>requests/s</b> is what a closed loop got while broker, generator and candidate
shared the cores named above.</li>
<li><b>Latency</b> comes from an open loop that does not wait for answers: a stall of the server
is felt by every request that was due meanwhile (no coordinated omission). Queues are in operation
then: fed at the rate at which they are consumed, read while they are published to.</li>
<li>A run during which the generator was late or out of CPU, or queues were refilled late, is <b>not
counted</b>.</li>
<li><b>lost or twice</b>: every message carries a number. After a run each number is in exactly
one answer, or still in its queue; each confirmed one came into its queue exactly once.</li></ul>"""
