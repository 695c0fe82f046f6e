"""When requests should start, and which one each is."""

from __future__ import annotations

import pytest

from bench.load.plan import Jitter, Request, Step
from bench.load.schedule import mixed, start_times


@pytest.mark.parametrize("jitter", ["none", "uniform", "poisson"])
def test_each_step_has_its_rate_and_its_time(jitter: Jitter) -> None:
    first, second = start_times([Step(100, 2), Step(300, 1)], jitter, seed=1)
    assert (len(first), len(second)) == (200, 300)
    assert first == sorted(first)
    assert 0 <= first[0] < first[-1] < 2 <= second[0] < second[-1] < 3


def test_without_jitter_starts_are_evenly_spaced() -> None:
    (times,) = start_times([Step(10, 1)], "none", seed=1)
    assert times == pytest.approx([each / 10 for each in range(10)])


def test_the_same_seed_gives_the_same_times() -> None:
    step = [Step(50, 1)]
    assert start_times(step, "poisson", 7) == start_times(step, "poisson", 7)
    assert start_times(step, "poisson", 7) != start_times(step, "poisson", 8)


def test_a_mix_follows_its_weights() -> None:
    chosen = mixed([Request(b"a"), Request(b"b", weight=3)], 4000, seed=1)
    assert 0.7 < chosen.count(1) / 4000 < 0.8
