"""A short run of bench/round_trips.py: every message is accounted for."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import round_trips
from bench.candidates import chosen
from bench.load.own import open_generator
from bench.network import NoNetwork
from bench.round_trips import Setup, Situation, main, measure, row
from tests.networks import delayed_network

pytestmark = pytest.mark.timeout(180)  # it starts several things, and measures them


def test_connections_pass_no_more_requests_than_the_round_trip_allows(
    vhost_url: str, tmp_path: Path
) -> None:
    situation = Situation(round_trip=0.02, prefetch=1, connections=4, seconds=0.5)
    (gateway,) = (each for each in chosen(["http1"], []) if each.is_gateway)
    with (
        delayed_network(situation.round_trip) as network,
        open_generator(network.popen) as generator,
    ):
        measured = measure(situation, gateway, vhost_url, Setup(network, generator, tmp_path))
    assert measured.accounting is not None
    assert measured.accounting.is_clean
    for step in (measured.closed, measured.open):
        assert set(step.statuses) == {200}
        assert step.responded_in_time <= situation.limit * step.seconds
    assert "gateway" in row(situation.prefetch, "gateway", [measured])


def test_where_there_is_no_network_the_reason_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(options: object) -> bool:
        raise NoNetwork("it needs root")

    monkeypatch.setattr(round_trips, "run", refuse)
    assert main([]) == 1
    assert "it needs root" in capsys.readouterr().err
