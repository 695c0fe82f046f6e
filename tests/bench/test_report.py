"""The pages and the log of latencies show what a document has, also one of an older version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from msgspec.structs import replace

from bench.arguments import RESULTS
from bench.compare import changes
from bench.document import LIMIT, Document, Life, Named, Run, read, write
from bench.load.plan import Slice
from bench.report.hdr import log
from bench.report.html import comparison, page

from .test_compare import OLD, document

SLICES = [Slice(100.0, 1.0, 4.0), Slice(90.0, 1.0, 40.0)]

NEW = replace(
    OLD,
    commit="0123456789ab-dirty",
    command=["python", "-m", "bench", "--record"],
    scenarios=[
        Named("consume-1", "consume, 1 queue", request_bytes=130),
        Named("publish", "publish", request_bytes=1300, message_bytes=150),
    ],
    runs=[
        replace(run, scenario=name, slices=SLICES if run.mode == "open" else [])
        for name in ("consume-1", "publish")
        for run in OLD.runs
    ],
    lives=[Life("consume-1", "gateway", 0, 0.3, response_bytes=142)],
)


def charts(text: str, heading: str) -> list[str]:
    """The charts below a heading."""
    (section,) = re.findall(rf"<h2>{heading}</h2>(.*?)<h2>", text, re.DOTALL)
    return re.findall("<svg.*?</svg>", section, re.DOTALL)


def test_the_pages_need_nothing_from_elsewhere() -> None:
    for text in (page(NEW), comparison(OLD, NEW, [])):
        assert "consume, 1 queue" in text
        assert "<svg" in text
        assert "<script" not in text
        assert "http" not in text.replace("HTTP", "").replace("httptools", "")


def test_a_page_says_what_was_run_and_how_large_it_was() -> None:
    text = page(NEW)
    assert "0123456789ab-dirty" in text
    assert "python -m bench --record" in text
    assert "300 requests each" in text
    assert "request 130 bytes, response 142 bytes" in text
    assert "message 150 bytes, request 1\u202f300 bytes" in text


@pytest.mark.parametrize(
    ("heading", "count"),
    [("Latency at a fixed rate", 2), ("Throughput and latency over time", 4)],
)
def test_panels_side_by_side_have_the_same_scale(heading: str, count: int) -> None:
    """The latencies of the second scenario are a hundred times those of the first."""
    slow = document([30, 31, 32], p99=0.4)
    runs = [run for run in NEW.runs if run.scenario == "consume-1"]
    runs += [
        replace(run, scenario="publish", slices=[Slice(900, 100.0, 400.0)] * bool(run.offered))
        for run in slow.runs
    ]
    found = charts(page(replace(NEW, runs=runs)), heading)
    ticks = [re.findall('class="tick".*?>(.*?)<', chart) for chart in found]
    assert len(ticks) == count
    assert ticks[: count // 2] == ticks[count // 2 :]


def test_a_load_over_time_is_one_line_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write(NEW, path)
    assert read(path) == NEW
    assert '"slices":[[100.0,1.0,4.0],[90.0,1.0,40.0]],\n' in path.read_text()


def test_errors_are_shown_by_status() -> None:
    assert "Responses by status" not in page(OLD)
    runs = [replace(run, statuses={200: 96, 503: 3, 0: 1}) for run in OLD.runs]
    text = page(replace(OLD, runs=runs))
    assert re.search(r"<th>200</th>\s*<th>503</th>\s*<th>none</th>", text)
    assert '<td class="bad">18</td>' in text
    assert '<td class="bad">6</td>' in text


def test_the_limit_has_a_ratio_and_its_changes_are_not_ours() -> None:
    limit = Named(LIMIT, "limit: bare protocol", "baseline")

    def with_limit(cpu: float) -> Document:
        runs = [replace(run, candidate=LIMIT, cpu=cpu) for run in OLD.runs[:6]]
        return replace(OLD, candidates=[*OLD.candidates, limit], runs=OLD.runs + runs)

    assert "limit: bare protocol: \N{MULTIPLICATION SIGN}0.25" in page(with_limit(5))
    assert changes(with_limit(5), with_limit(50)) == []


def test_two_runs_are_shown_side_by_side() -> None:
    """Only what both have; where an old document lacks figures the page says so."""
    new = replace(NEW, runs=[run for run in NEW.runs if run.scenario == "consume-1"])
    slower = document([36, 37, 38])
    runs = [replace(run, slices=SLICES) for run in slower.runs if run.mode == "open"]
    new = replace(new, runs=[run for run in slower.runs if run.mode == "closed"] + runs)
    text = comparison(OLD, new, changes(OLD, new))
    assert "consume, 1 queue: old" in text
    assert "consume, 1 queue: new" in text
    assert "publish: new" not in text
    assert re.search(r'31.0 → 37.0<small class="bad">\+19%', text)
    assert "no valid figures" in text
    assert "Hutch Gateway: two benchmark runs" in text
    other = replace(new, machine=replace(new.machine, cores=4))
    assert "differ in the number of cores" in comparison(OLD, other, [])
    faster = replace(new, runs=[replace(run, offered=2 * run.offered) for run in new.runs])
    assert "other rate" in comparison(OLD, faster, [])


def test_confirms_of_the_broker_in_a_sweep_are_in_no_chart_over_time() -> None:
    """The client that measures them is no candidate of the document."""
    confirms = [replace(run, candidate="raw-amqp", mode="half") for run in NEW.runs]
    heading = "Throughput and latency over time"
    found = charts(page(replace(NEW, runs=NEW.runs + confirms)), heading)
    assert found == charts(page(NEW), heading)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_recorded_documents_can_be_shown(path: Path) -> None:
    recorded = read(path)
    assert recorded.version in page(recorded)
    assert recorded.version in comparison(recorded, recorded, [])
    assert log(recorded)


def test_tools_of_hdrhistogram_read_the_latencies(tmp_path: Path) -> None:
    path = tmp_path / "a.hlog"
    late = replace(OLD.runs[1], refused="late")
    path.write_text(log(replace(OLD, runs=[*OLD.runs, late])))
    reader = HistogramLogReader(str(path), HdrHistogram(1, 600_000_000, 3))
    found = []
    while (histogram := reader.get_next_interval_histogram()) is not None:
        found.append(histogram)
    reader.close()
    open_loops: list[Run] = [run for run in OLD.runs if run.mode == "open"]
    assert [each.get_tag() for each in found] == [
        f"consume-1.{run.candidate}.open" for run in open_loops
    ]
    assert {each.get_total_count() for each in found} == {100}
    for each in found:
        assert each.get_value_at_percentile(99) == pytest.approx(4000, rel=0.001)
