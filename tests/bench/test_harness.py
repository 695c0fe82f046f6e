"""The whole harness on a real broker, as short as it can be."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bench.backend import open_backend
from bench.baseline import BODY
from bench.campaign import SWEEP
from bench.candidates import HAND_WRITTEN, running
from bench.cli import main
from bench.document import Document, Run, read
from bench.fill import fill
from bench.load.outcome import SLICES
from bench.load.own import open_generator
from bench.messages import message
from bench.queues import Stock, drain
from bench.scenarios import all_scenarios
from bench.session import Session, Tools
from bench.summary import unmeasured
from bench.sweeps import sweeps
from gateway.app.catalog import CATALOG
from gateway.config.load import load

pytestmark = pytest.mark.timeout(180)  # it starts several things, and measures them

QUICK = ["--seconds", "0.3", "--warm-up", "0.1", "--repetitions", "1", "--load", "own"]


@pytest.mark.parametrize("name", list(all_scenarios()))
def test_every_scenario_is_a_configuration(name: str) -> None:
    scenario = all_scenarios()[name]
    config = scenario.config("amqp://guest:guest@localhost", "http://localhost:8081", 8080)
    assert len(load(config, CATALOG).service.endpoints) == len(scenario.endpoints)


def test_names_are_unique_and_some_are_the_default() -> None:
    scenarios = all_scenarios()
    assert all(name == scenario.name for name, scenario in scenarios.items())
    assert 0 < sum(each.is_default for each in scenarios.values()) < len(scenarios)


def test_a_stock_is_filled_and_read(vhost_url: str) -> None:
    stock = Stock(all_scenarios()["consume-10"], vhost_url)
    stock.set_up()
    stock.top_up(5)
    stock.top_up(7)
    assert set(stock.remaining()) == stock.numbers()
    assert len(stock.numbers()) == 70
    assert stock.remaining() == []


def test_large_messages_are_drained_whole(vhost_url: str) -> None:
    asyncio.run(fill(vhost_url, "large", 3, lambda number: message(0, number, 300_000)))
    assert drain(vhost_url, ["large"]) == [0, 1, 2]


def measured(*options: str, path: Path) -> Document:
    """What the benchmark writes. On a busy machine its generator may be late: such a figure is not
    counted, and the exit status is 1."""
    status = main([*options, "--output", str(path)])
    document = read(path)
    assert document.notes == []
    assert status == (1 if unmeasured(document) else 0)
    return document


def test_consuming_and_publishing_are_measured_and_accounted_for(
    vhost_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result.json"
    scenarios = ["--scenario", "mixed", "--scenario", "waiting", "--scenario", "agent-http"]
    document = measured(*scenarios, *QUICK, "--url", vhost_url, path=path)
    assert {run.mode for run in document.runs} == {"closed", "open", "waiting", "agents"}
    assert all(run.failures == 0 for run in document.runs)
    assert {run.candidate for run in document.runs if run.mode == "waiting"} == {
        "gateway",
        "raw-amqp",
    }
    accountings = [life.accounting for life in document.lives if life.candidate == "gateway"]
    assert len(accountings) == 3
    assert all(accounting is not None and accounting.is_clean for accounting in accountings)
    assert all(accounting is not None and accounting.numbered > 100 for accounting in accountings)
    assert "gateway" in capsys.readouterr().out
    assert path.with_suffix(".html").exists()


def test_the_time_of_the_broker_to_confirm_is_measured(vhost_url: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    runs = measured("--scenario", "publish", *QUICK, "--url", vhost_url, path=path).runs
    assert {run.mode for run in runs if run.candidate == "raw-amqp"} == {"direct", "open"}
    of_gateway, of_broker = (
        next(run for run in runs if (run.candidate, run.mode) == (name, "open"))
        for name in ("gateway", "raw-amqp")
    )
    assert of_broker.offered == of_gateway.offered
    assert of_broker.statuses == {200: of_broker.requests}
    assert of_broker.latency is not None


@pytest.mark.parametrize("name", ["consume-1", "publish-transient"])
def test_a_sweep_measures_half_of_each_saturation_point_that_it_finds(
    vhost_url: str, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "result.json"
    quick = ["--seconds", "0.1", "--warm-up", "0.1", "--repetitions", "1", "--load", "own"]
    options = ["--sweep", "--scenario", name, "--url", vhost_url]
    document = measured(*options, *quick, path=path)
    found = sweeps(document)
    assert [len(sweep.points) for sweep in found] == [len(SWEEP)] * 2
    for sweep in found:
        assert (sweep.half is None) == (sweep.saturation_point is None)
        if sweep.half is not None and sweep.saturation_point is not None:
            assert sweep.half.offered == pytest.approx(sweep.saturation_point / 2, abs=10)
        is_gateway = sweep.candidate == "gateway"
        has_confirms = (
            name == "publish-transient" and is_gateway and sweep.saturation_point is not None
        )
        assert (sweep.confirm is not None) == has_confirms
        if sweep.confirm is not None and sweep.half is not None:
            assert sweep.confirm.offered == sweep.half.offered
    accountings = [life.accounting for life in document.lives if life.accounting is not None]
    assert [accounting.is_clean for accounting in accountings] == [True]


@pytest.mark.parametrize("name", ["agent-http", "agent-producer"])
def test_hand_written_agents_move_each_message_once(
    vhost_url: str, tmp_path: Path, name: str
) -> None:
    scenario = all_scenarios()[name]
    stock = Stock(scenario, vhost_url)
    stock.set_up()
    with open_backend() as backend, open_generator() as generator:
        tools = Tools(generator, backend, None, tmp_path, use_wrk=False)
        with running(HAND_WRITTEN, scenario, vhost_url, backend.url, tmp_path) as process:
            session = Session(scenario, HAND_WRITTEN, 0, stock, process, tools)
            run = session.empty_queue(0.1)
        assert run.failures == 0
        assert run.cpu > 0
        accounting = session.accounting()
    assert accounting is not None
    assert accounting.is_clean
    assert accounting.numbered >= 1500


def test_a_candidate_that_does_not_start_is_a_note_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "result.json"
    config = ["--scenario", "static", "--peer", "broken=/bin/false", *QUICK]
    assert main([*config, "--output", str(path), "--no-direct"]) == 1
    document = read(path)
    assert {run.candidate for run in document.runs} == {"baseline", "gateway", "limit"}
    (note,) = document.notes
    assert note.startswith("static, broken: ")


def test_the_limit_is_measured_like_the_baseline(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    document = measured("--scenario", "static", *QUICK, "--no-direct", path=path)
    runs = [run for run in document.runs if run.candidate == "limit"]
    assert [run.mode for run in runs] == ["closed", "open"]
    assert all(run.failures == 0 and run.requests and run.cpu for run in runs)
    sizes = {life.candidate: life.response_bytes for life in document.lives}
    assert sizes["limit"] == sizes["baseline"] == len(BODY)
    assert sizes["gateway"]
    assert all(len(run.slices) == SLICES for run in document.runs)


def test_a_client_without_http_that_fails_is_a_note_and_the_others_go_on(
    vhost_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> Run:
        raise RuntimeError("no more")

    monkeypatch.setattr(
        "bench.campaign.clients_without_http", lambda *args: [("raw-amqp", fail)] * 2
    )
    path = tmp_path / "result.json"
    options = ["--url", vhost_url, "--output", str(path)]
    assert main(["--scenario", "publish", *QUICK, *options]) == 1
    document = read(path)
    assert document.notes == ["publish, raw-amqp: no more"] * 2
    assert {run.candidate for run in document.runs} == {"baseline", "gateway"}


def test_options_that_do_not_go_together_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scenario", "nonsense"]) == 1
    assert main(["--url", "amqp://x", "--peer", "other=/bin/true"]) == 1
    assert "one virtual host" in capsys.readouterr().err


def test_the_backend_knows_what_it_was_sent() -> None:
    with open_backend() as backend:
        assert backend.count() == 0
        assert backend.take() == []
