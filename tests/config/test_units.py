"""Durations in Go's notation."""

from __future__ import annotations

import pytest

from gateway.config.units import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2s", 2.0),
        ("150ms", 0.15),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        ("-1s", -1.0),
        ("+1s", 1.0),
        ("0", 0.0),
        (".5s", 0.5),
        ("10us", 1e-5),
        ("10\u00b5s", 1e-5),
        ("1m1s1ms", 61.001),
    ],
)
def test_a_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "2", "s", "2 s", "2x", "1s2", "--1s", "two"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)
