"""A change counts when it is beyond the noise; a regression ends with 3."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import json
from msgspec.structs import replace

from bench.accounting import Accounting
from bench.cli import main
from bench.compare import changes
from bench.document import Document, Life, Mode, Named, Run, read, write
from bench.load.histogram import Percentiles, encoded, percentiles
from bench.machine import Machine
from bench.report.words import sweep_summary
from bench.summary import cells, unmeasured
from bench.sweeps import SweepPoint, point_of, saturation_point_of, sweeps


def document(
    cpu: Sequence[float],
    baseline: Sequence[float] = (20, 21, 20),
    p99: float = 0.004,
    lost: int = 0,
) -> Document:
    """Three repetitions of one scenario: saturation and the open loop, with its baseline."""
    histogram = encoded([0.001] * 98 + [p99] * 2)

    def runs(candidate: str, values: Sequence[float]) -> list[Run]:
        return [
            Run(
                scenario="consume-1",
                candidate=candidate,
                repetition=number,
                mode=mode,
                tool="own",
                seconds=1.0,
                requests=100,
                rate=1e6 / value,
                offered=0.0 if mode == "closed" else 100.0,
                statuses={200: 100},
                latency=percentiles(histogram) if mode == "open" else None,
                histogram=histogram if mode == "open" else "",
                cpu=value,
            )
            for number, value in enumerate(values)
            for mode in ("closed", "open")
        ]

    return Document(
        started="2026-01-01T00:00:00+00:00",
        version="0",
        command=[],
        machine=Machine("one", 2, 1 << 30, "Linux", 0.0, {}),
        seconds=1.0,
        repetitions=3,
        scenarios=[Named("consume-1", "consume, 1 queue")],
        candidates=[Named("baseline", "baseline"), Named("gateway", "gateway", "baseline")],
        runs=runs("baseline", baseline) + runs("gateway", cpu),
        lives=[Life("consume-1", "gateway", 0, 0.3, Accounting(100, lost, 0))],
    )


OLD = document([30, 31, 32])


def compared(tmp_path: Path, new: Document, old: Document = OLD) -> int:
    write(old, tmp_path / "old.json")
    write(new, tmp_path / "new.json")
    return main(["--read", str(tmp_path / "new.json"), "--compare", str(tmp_path / "old.json")])


@pytest.mark.parametrize(
    ("new", "status"),
    [
        (OLD, 0),
        (document([31, 32, 33]), 0),
        (document([36, 37, 38]), 3),
        (document([25, 26, 27]), 0),
        (document([30, 31, 32], lost=1), 3),
        (document([30, 31, 32], p99=0.02), 3),
        (document([60, 62, 64], baseline=[40, 42, 40]), 0),
    ],
    ids=["same", "noise", "slower", "faster", "lost", "stalls", "half as fast a machine"],
)
def test_the_exit_status_shows_a_regression(tmp_path: Path, new: Document, status: int) -> None:
    assert compared(tmp_path, new) == status


def test_a_change_says_what_changed() -> None:
    found = changes(OLD, document([40, 41, 42]))
    assert {change.metric for change in found} == {"cpu", "rate"}
    assert all(change.is_worse for change in found)
    assert "consume-1 gateway: cpu 31 -> 41 (+32%, worse)" in map(str, found)


def test_a_document_comes_back_as_it_was(tmp_path: Path) -> None:
    write(OLD, tmp_path / "a.json")
    assert read(tmp_path / "a.json") == OLD


def test_a_document_of_another_schema_is_no_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(json.encode(replace(OLD, schema=99)))
    assert main(["--read", str(path)]) == 1
    assert "schema 99" in capsys.readouterr().err


def test_a_busy_machine_is_said_in_the_page_and_in_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(tmp_path, replace(OLD, machine=replace(OLD.machine, load=1.9))) == 0
    words = "The machine was busy before this run (load 1.9 on 2 cores)"
    assert words in (tmp_path / "new.html").read_text()
    assert words in capsys.readouterr().out
    assert words in (tmp_path / "new-compared.html").read_text()
    assert compared(tmp_path, replace(OLD, machine=replace(OLD.machine, load=0.9))) == 0
    assert words not in (tmp_path / "new.html").read_text()


def test_a_refused_run_does_not_count() -> None:
    runs = [replace(run, refused="late") if run.mode == "open" else run for run in OLD.runs]
    (_, cell) = cells(replace(OLD, runs=runs))
    assert cell.latency is None
    assert cell.cpu_ratio is not None
    assert cell.cpu_ratio.median == pytest.approx(30 / 20)
    assert set(cell.refused) == {"open: late"}


def test_what_was_never_counted_is_reported_and_has_no_substitute(tmp_path: Path) -> None:
    def refused(run: Run) -> bool:
        return run.candidate == "gateway" and run.mode == "closed"

    runs = [replace(run, refused="empty" if refused(run) else "") for run in OLD.runs]
    new = replace(OLD, runs=runs)
    assert [cell.cpu is None for cell in cells(new)] == [False, True]
    assert unmeasured(new) == [("consume-1", "gateway", "closed")]
    assert unmeasured(replace(new, runs=runs + OLD.runs)) == []
    assert [change.metric for change in changes(OLD, new)] == []


def test_latencies_at_other_rates_are_not_compared() -> None:
    slow = document([30, 31, 32], p99=0.4)
    assert [change.metric for change in changes(OLD, slow)] == ["p99"]
    runs = [replace(run, offered=2 * run.offered) for run in slow.runs]
    assert changes(OLD, replace(slow, runs=runs)) == []


def test_only_valid_runs_of_a_step_are_used() -> None:
    def step(rate: float, refused: str = "", failed: int = 0) -> Run:
        statuses = {200: 100 - failed, 503: failed}
        return replace(OLD.runs[1], rate=rate, refused=refused, statuses=statuses)

    assert point_of([step(100), step(90), step(10, "late")]).achieved == 95
    late = point_of([step(100), step(20, "late"), step(10, "late")])
    assert (late.achieved, late.is_valid) == (20, False)
    assert point_of([step(100, failed=40)]).achieved == 60


def test_the_saturation_point_is_the_last_rate_that_is_sustained() -> None:
    def point(offered: float, achieved: float, p99: float, p50: float = 0.5) -> SweepPoint:
        return SweepPoint(offered, achieved, p50, p99, p99, is_valid=True)

    points = [point(100, 100, 1), point(200, 199, 2), point(300, 280, 3), point(400, 399, 2)]
    assert saturation_point_of(points) == 200
    assert saturation_point_of([point(100, 100, 1), point(200, 200, 50)]) == 100
    late = [point(400, 400, 50), point(500, 500, 50), point(600, 600, 2)]
    stalled = [point(100, 100, 30), point(200, 200, 2), point(300, 300, 3)]
    assert saturation_point_of([*stalled, *late]) == 300
    assert saturation_point_of([]) is None
    crowded = [point(100, 100, 5, 0.6), point(200, 200, 5, 1.7), point(300, 300, 9, 1.9)]
    assert saturation_point_of([*crowded, point(400, 400, 9, 2.4)]) == 200
    assert saturation_point_of([point(100, 100, 1, 0.1), point(200, 200, 2, 0.9)]) == 200


def test_half_of_the_saturation_point_is_measured_and_not_taken_from_a_step() -> None:
    """Two repetitions with different saturation points; the generator was late in the second."""

    def step(offered: float, repetition: int, mode: Mode, p99: float, refused: str = "") -> Run:
        run = replace(OLD.runs[1], candidate="gateway", mode=mode, repetition=repetition)
        latency = Percentiles(p99 / 2, p99, p99, p99, p99)
        return replace(run, offered=offered, rate=offered, latency=latency, refused=refused)

    runs = [
        *(step(each, n, "sweep", 2.0) for n in (0, 1) for each in (200, 300 + n * 100)),
        step(150, 0, "half", 1.5),
        step(200, 1, "half", 9.0, refused="late"),
    ]
    (sweep,) = sweeps(replace(OLD, runs=runs))
    assert sweep.saturation_point == 350
    assert sweep.half is not None
    assert sweep_summary(sweep) == "sustains 350/s; p99 at half of it (150/s) 1.50 ms"
    confirm = replace(step(150, 0, "half", 1.0), candidate="raw-amqp")
    (sweep,) = sweeps(replace(OLD, runs=[*runs, confirm]))
    assert sweep_summary(sweep).endswith(
        "1.50 ms; p99 of the broker's confirm at that rate 1.00 ms"
    )
    (sweep,) = sweeps(replace(OLD, runs=[*runs[:-2], runs[-1]]))
    assert sweep_summary(sweep).endswith("(200/s) 9.00 ms (not counted)")
    (sweep,) = sweeps(replace(OLD, runs=runs[:-2]))
    assert sweep_summary(sweep) == "sustains 350/s"


def test_cpu_at_a_fixed_rate_is_a_figure_of_its_own() -> None:
    runs = [replace(run, cpu=run.cpu * (2 if run.mode == "open" else 1)) for run in OLD.runs]
    baseline, cell = cells(replace(OLD, runs=runs))
    assert baseline.steady_cpu_ratio is None
    assert cell.cpu is not None
    assert cell.steady_cpu is not None
    assert (cell.cpu.median, cell.steady_cpu.median) == (31, 62)
    assert cell.steady_cpu_ratio is not None
    assert cell.steady_cpu_ratio.median == pytest.approx(60 / 40)


def test_a_repetition_is_compared_with_the_baseline_of_its_own() -> None:
    """The machine is twice as slow in the second one, and the third has no baseline."""
    slow = [
        replace(run, cpu=run.cpu * 2) if run.repetition == 1 else run
        for run in OLD.runs
        if (run.candidate, run.repetition) != ("baseline", 2)
    ]
    _, cell = cells(replace(OLD, runs=slow))
    (_, unhurried) = cells(replace(OLD, runs=[run for run in OLD.runs if run.repetition < 2]))
    assert cell.cpu_ratio == unhurried.cpu_ratio
    assert cell.cpu_ratio is not None
    assert cell.cpu_ratio.low < cell.cpu_ratio.high


def test_the_baseline_of_a_scenario_comes_before_those_of_its_candidates() -> None:
    """And CPU that was not measured is no figure."""
    hand_written = [replace(run, candidate="hand-written", cpu=10.0) for run in OLD.runs[:6]]
    new = replace(
        OLD,
        scenarios=[Named("consume-1", "consume", "hand-written")],
        candidates=[*OLD.candidates, Named("hand-written", "hand-written")],
        runs=OLD.runs + hand_written,
    )
    ratio = cells(new)[1].cpu_ratio
    assert ratio is not None
    assert ratio.median == pytest.approx(31 / 10)
    unknown = replace(new, runs=OLD.runs + [replace(run, cpu=0.0) for run in hand_written])
    assert cells(unknown)[1].cpu_ratio is None
