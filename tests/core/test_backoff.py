"""Pauses between attempts."""

from __future__ import annotations

from itertools import islice

import pytest

from gateway.core.backoff import BACKOFFS, MAX_PAUSE


@pytest.mark.parametrize(
    ("name", "pauses"),
    [
        ("fallback", [1, 1, 1, 1, 1, 1, 1]),
        ("linear", [0, 1, 2, 3, 4, 5, 6]),
        ("exponential", [1, 2, 4, 8, 16, 30, 30]),
    ],
)
def test_pauses_are_those_of_krakend_with_a_cap(name: str, pauses: list[float]) -> None:
    assert list(islice(BACKOFFS[name](), 7)) == pauses


@pytest.mark.parametrize("name", ["linear", "exponential"])
def test_jitter_changes_a_pause_by_a_third_at_most(name: str) -> None:
    plain = islice(BACKOFFS[name](), 50)
    for pause, jittered in zip(plain, BACKOFFS[f"{name}-jitter"](), strict=False):
        assert 0.67 * pause <= jittered <= 1.33 * pause


def test_no_pause_grows_beyond_the_cap_however_long_the_outage() -> None:
    for name in ("linear", "exponential"):
        assert next(islice(BACKOFFS[name](), 100_000, None)) == MAX_PAUSE
