"""Points of seconds, totals and windows, from reports of one worker and of several."""

from __future__ import annotations

from gateway.components.page.failures import Failure
from gateway.components.page.history import MARK_INTERVAL, GatewayHistory
from gateway.telemetry.parts import MessageCounts

from .reports import counts, report


def history(endpoints: int = 1, length: int = 900) -> GatewayHistory:
    return GatewayHistory(endpoints, length, samples=3)


def test_a_point_is_what_was_added_since_the_last_report() -> None:
    it, counted = history(), counts()
    for second, number in [(100, 3), (101, 0), (102, 5)]:
        for _ in range(number):
            counted.count(200, 0.01)
        counted.count(503, 0.1)
        it.advance(second, report(second, counted))
    series = it.series(it.after(0))
    assert series.ok == [3, 0, 5]
    assert series.server_errors == [1, 1, 1]
    assert series.max == [0.1, 0.1, 0.1]
    assert it.totals[0].outcomes == [8, 0, 0, 3, 0]
    assert it.recent(it.after(0))[0] == [4, 1, 6]


def test_a_second_without_a_response_has_no_times() -> None:
    it = history()
    it.advance(100, report(100, counts()))
    series = it.series(it.after(0))
    assert series.p50 == series.p99 == series.max == [None]
    assert series.ok == [0]


def test_only_the_points_after_a_second_are_returned() -> None:
    it = history()
    for second in range(100, 110):
        it.advance(second, report(second, counts()))
    assert it.after(0) == range(100, 110)
    assert it.after(107) == range(108, 110)
    assert it.after(109) == range(110, 110)
    assert it.after(110) == range(100, 110)  # of another start of the gateway
    assert it.after(99) == range(100, 110)


def test_the_oldest_points_are_dropped() -> None:
    it, counted = history(length=60), counts()
    for second in range(1, 200):
        counted.count(200, 0.01)
        if second == 199:
            counted.count(200, 0.01)
        it.advance(second, report(second, counted))
    assert it.after(0) == range(140, 200)
    assert it.series(it.after(0)).ok == [1] * 59 + [2]
    assert it.recent(it.after(0))[0] == [1] * 59 + [2]


def test_seconds_for_which_there_was_no_time_are_empty() -> None:
    it, counted = history(), counts((200, 0.01))
    it.advance(100, report(100, counted, in_flight=1))
    counted.count(200, 0.01)
    it.advance(104, report(104, counted, in_flight=2))
    series = it.series(it.after(0))
    assert series.ok == [1, 0, 0, 0, 1]
    assert series.in_flight == [1, None, None, None, 2]
    assert it.recent(it.after(0))[0] == [1, 0, 0, 0, 1]
    it.advance(5000, report(5000, counted))
    assert len(it.after(0)) == 900
    assert sum(it.series(it.after(0)).ok) == 0
    assert it.recent(it.after(0))[0] == [0] * 60


def test_a_second_has_one_point() -> None:
    it, counted = history(), counts((200, 0.01))
    it.advance(100, report(100, counted))
    counted.count(200, 0.01)
    it.advance(100, report(100, counted))
    it.advance(99, report(99, counted))
    assert it.series(it.after(0)).ok == [1]


def test_workers_are_added_up() -> None:
    it = history()
    it.advance(100, report(100, counts()), [report(100, counts(), worker=1)])
    first = report(101, counts((200, 0.01)), in_flight=2, lag=0.1, messages=MessageCounts(2))
    second = report(
        101,
        counts((200, 0.01), (404, 0.2)),
        worker=1,
        in_flight=3,
        lag=0.2,
        messages=MessageCounts(2, 4),
    )
    it.advance(101, first, [second])
    series = it.series(it.after(100))
    assert (series.ok, series.client_errors, series.in_flight) == ([2], [1], [5])
    assert (series.taken, series.requeued) == ([4], [4])
    assert series.lag == [0.2]


def test_a_worker_that_is_started_again_takes_nothing_away() -> None:
    it = history()
    old = counts(*[(200, 0.01)] * 10)
    it.advance(100, report(100, counts()), [report(100, old, worker=1)])
    it.advance(101, report(101, counts()), [report(101, old, worker=1)])
    it.advance(102, report(102, counts()), [report(102, counts((200, 0.01)), worker=1, life=2)])
    assert it.series(it.after(100)).ok == [0, 1]
    assert it.totals[0].outcomes[0] == 11


def test_what_others_counted_before_the_start_is_in_no_point() -> None:
    it = history()
    other = report(100, counts(*[(200, 0.01)] * 10), worker=1, messages=MessageCounts(7))
    it.advance(100, report(100, counts((200, 0.01))), [other])
    assert it.series(it.after(0)).ok == [1]
    assert it.series(it.after(0)).taken == [0]
    assert it.recent(it.after(0))[0] == [1]
    assert it.totals[0].outcomes[0] == 11


def test_a_worker_without_a_new_report_is_not_up() -> None:
    it = history()
    silent = report(100, counts(), worker=1, in_flight=9)
    for second in range(100, 104):
        it.advance(second, report(second, counts()), [silent])
        assert [each.worker for each in it.up] == [0, 1]
    it.advance(104, report(104, counts()), [silent])
    assert [each.worker for each in it.up] == [0]
    assert [each.worker for each in it.workers] == [0, 1]
    assert it.series(it.after(103)).in_flight == [0]


def test_a_report_of_another_configuration_is_ignored() -> None:
    it = history(endpoints=1)
    other = report(100, counts((200, 1)), counts(), worker=1)
    it.advance(100, report(100, counts()), [other])
    it.advance(101, report(101, counts()), [other])
    assert it.totals[0].outcomes[0] == 0


def test_messages_of_brokers_are_counted() -> None:
    it = history()
    for second, number in [(100, 0), (101, 4), (102, 3)]:
        messages = MessageCounts(2 * number, 3 * number, number)
        it.advance(second, report(second, counts(), messages=messages))
    series = it.series(it.after(100))
    assert (series.taken, series.requeued, series.published) == ([8, 0], [12, 0], [4, 0])


def test_the_totals_of_a_minute_ago_are_known() -> None:
    it, counted = history(), counts()
    for second in range(1, 301):
        counted.count(200, 0.01)
        it.advance(second, report(second, counted))
    [minute], [whole] = it.marks(60), it.marks(900)
    assert 240 - MARK_INTERVAL <= minute.outcomes[0] <= 240
    assert sum(minute.buckets) == minute.outcomes[0]
    assert whole.outcomes[0] == 0
    for second in range(301, 400):
        it.advance(second, report(second, counted))
    assert it.marks(60) == [it.totals[0].mark()]
    for second in range(400, 1300):
        it.advance(second, report(second, counted))
    assert it.marks(900) == [it.totals[0].mark()]


def test_failures_of_each_endpoint_are_kept_and_each_is_reported_once() -> None:
    it = history()

    def failure(number: int, endpoint: str = "GET /a") -> Failure:
        return Failure(str(number), endpoint, float(number), 500, "no")

    kept = [(100, failure(0, "GET /b")), *((100, failure(number)) for number in range(1, 6))]
    it.advance(100, report(100, counts(), failures=tuple(kept)))
    assert [each.id for _, each in it.failures.after(0)] == ["0", "3", "4", "5"]
    again = (*kept, (101, failure(6)))
    it.advance(101, report(101, counts(), failures=again))
    assert [(second, each.id) for second, each in it.failures.after(100)] == [(101, "6")]
    assert it.failures.after(101) == []


def test_a_failure_of_a_report_that_was_missed_is_in_the_next_ones() -> None:
    it = history()
    missed = (101, Failure("1", "GET /a", 1.0, 500, "no"))
    it.advance(100, report(100, counts()), [report(100, counts(), worker=1)])
    late = report(103, counts(), worker=1, failures=(missed,))
    it.advance(103, report(103, counts()), [late])
    it.advance(104, report(104, counts()), [late])
    assert [second for second, _ in it.failures.after(0)] == [103]
