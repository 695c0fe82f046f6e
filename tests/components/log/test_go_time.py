"""Layouts of times. The expected texts are Go's (time.Format, Go 1.24)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from gateway.components.log.go_time import build_time_format

NOVEMBER = datetime(2026, 11, 30, 19, 5, 6, 7089, UTC)
FEBRUARY = datetime(2027, 2, 3, 0, 40, 50, 120000, timezone(timedelta(hours=1), "CET"))

LAYOUTS = [
    ("2006/01/02 - 15:04:05.000", "2026/11/30 - 19:05:06.007", "2027/02/03 - 00:40:50.120"),
    ("2006-01-02T15:04:05.999Z07:00", "2026-11-30T19:05:06.007Z", "2027-02-03T00:40:50.12+01:00"),
    ("Mon Jan _2 15:04:05 2006", "Mon Nov 30 19:05:06 2026", "Wed Feb  3 00:40:50 2027"),
    (
        "Monday, 2 January 06 3:4:5 PM",
        "Monday, 30 November 26 7:5:6 PM",
        "Wednesday, 3 February 27 12:40:50 AM",
    ),
    ("02/01 03.04pm MST -0700", "30/11 07.05pm UTC +0000", "03/02 12.40am CET +0100"),
    ("15:04:05,000000", "19:05:06,007089", "00:40:50,120000"),
    ("15:04:05.999999999 002", "19:05:06.007089 334", "00:40:50.12 034"),
    (
        "2006-01-02T15:04:05-07:00 Z0700",
        "2026-11-30T19:05:06+00:00 Z",
        "2027-02-03T00:40:50+01:00 +0100",
    ),
    ("1/2/2006 at 15h", "11/30/2026 at 19h", "2/3/2027 at 00h"),
    ("05.00 .5 x_2", "06.00 .6 x30", "50.12 .50 x 3"),
]


@pytest.mark.parametrize(("layout", "november", "february"), LAYOUTS)
def test_times_are_written_as_by_go(layout: str, november: str, february: str) -> None:
    write = build_time_format(layout)
    assert (write(NOVEMBER), write(FEBRUARY)) == (november, february)
