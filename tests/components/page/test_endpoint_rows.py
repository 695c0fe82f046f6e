"""Rows of endpoints show what was counted, and are made again only when they have to be."""

from __future__ import annotations

from gateway.app.catalog import CATALOG
from gateway.components.page.endpoint_rows import EndpointRows
from gateway.components.page.history import GatewayHistory
from gateway.config.structs import Endpoint

from .reports import counts, report


def test_a_row_has_totals_the_last_minute_and_the_last_second() -> None:
    history = GatewayHistory(2, 900, 1)
    rows = EndpointRows([Endpoint(endpoint="/a")], CATALOG, history)
    counted, unmatched = counts(), counts()
    for second in range(1, 201):
        counted.count(200 if second % 2 else 503, 0.01)
        history.advance(second, report(second, counted, unmatched))
    unmatched.count(404, 0.001)
    history.advance(201, report(201, counted, unmatched))
    row, other = rows.rows(history.after(199))
    assert (row.id, row.method, row.path) == ("GET /a", "GET", "/a")
    assert (row.total.ok, row.total.server_errors) == (100, 100)
    assert 60 <= row.minute.ok + row.minute.server_errors <= 75
    assert (row.rate, row.recent) == (0, [1, 0])
    assert sum(row.counts) == 200
    assert row.p50 is not None
    assert row.p50 <= 0.01
    assert (other.rate, other.recent, other.total.client_errors) == (1, [0, 1], 1)


def test_a_row_without_new_responses_is_the_same_until_they_are_old() -> None:
    history = GatewayHistory(2, 60, 1)
    rows = EndpointRows([Endpoint(endpoint="/a")], CATALOG, history)
    counted = counts((200, 0.01))
    history.advance(100, report(100, counted, counts()))
    first = rows.rows(history.after(0))[0]
    assert (first.rate, first.minute.ok, sum(first.counts)) == (1, 1, 1)
    history.advance(101, report(101, counted, counts()))
    second = rows.rows(history.after(0))[0]
    assert second is first
    assert (second.rate, second.recent) == (0, [1, 0])
    for later in range(102, 200):
        history.advance(later, report(later, counted, counts()))
    [last, _] = rows.rows(history.after(0))
    assert (last.total.ok, last.minute.ok, last.counts, last.p50) == (1, 0, [], None)
