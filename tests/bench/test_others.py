"""The output of other generators is read correctly."""

from __future__ import annotations

import pytest

from bench.load import k6
from bench.load.histogram import Percentiles
from bench.load.own import LoadError
from bench.load.plan import Request
from bench.load.wrk import lua, parsed

WRK = """Running 2s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  90450 requests in 2.01s, 10.00MB read
  Socket errors: connect 0, read 1, write 0, timeout 2
  Non-2xx or 3xx responses: 4
Requests/sec:  45000.00
"""


def test_wrk_reports_good_and_other_responses() -> None:
    assert parsed(WRK) == (90450, 2.01, {200: 90446, 0: 7})


def test_wrk_without_a_result_is_an_error() -> None:
    with pytest.raises(LoadError):
        parsed("unable to connect")


def test_requests_reach_lua_as_they_are() -> None:
    script = lua([Request(b"GET / \r\n", weight=2), Request(b'{"n":', b"}", True)], 7)
    assert b'{"GET / \\r\\n","GET / \\r\\n","{\\"n\\":7}"}' in script


def test_k6_reports_what_it_dropped() -> None:
    values = {"med": 1, "p(90)": 2, "p(99)": 3, "p(99.9)": 4, "max": 5}
    found = k6.parsed(
        {
            "http_req_duration": values,
            "http_req_failed": {"passes": 6},
            "http_reqs": {"count": 100, "rate": 10},
            "dropped_iterations": {"count": 7},
        }
    )
    assert (found.requests, found.failed, found.dropped) == (100, 6, 7)
    assert found.latency == Percentiles(1, 2, 3, 4, 5)
