"""Several parts, one answer."""

from __future__ import annotations

import pytest

from gateway.core.merging import merge
from gateway.core.proxy import INCOMPLETE, OutcomeWatcher, Request, Response
from gateway.errors import (
    BackendStatusError,
    BrokerUnavailable,
    DeadlineExceeded,
    GatewayError,
    OutcomeUnknown,
    QueueEmpty,
    SeveralFailures,
    Undecodable,
    Unroutable,
)


class Message:
    shown_id = ""

    def sent(self) -> None: ...
    def acknowledge(self) -> None: ...
    def park(self) -> None: ...

    def watch(self, watcher: OutcomeWatcher) -> None: ...

    def give_back(self) -> None: ...


def test_a_single_part_passes_as_it_is() -> None:
    part = Response({"a": 1}, INCOMPLETE)
    assert merge([part]) is part


def test_keys_come_together_and_a_later_one_wins() -> None:
    merged = merge([Response({"k": "fast", "o": {"b": 2}}), Response({"k": "slow", "o": {"a": 1}})])
    assert merged.data == {"k": "slow", "o": {"a": 1}}
    assert merged.is_complete


def test_no_part_is_changed_by_the_merge() -> None:
    first = Response({"a": 1})
    merge([first, Response({"b": 2})])
    assert first.data == {"a": 1}


def test_messages_of_all_parts_are_held_in_order() -> None:
    first, second, third = Message(), Message(), Message()
    merged = merge(
        [Response({}, messages=[first, second]), QueueEmpty(), Response({}, messages=[third])]
    )
    assert list(merged.messages) == [first, second, third]


def test_a_failed_part_makes_it_incomplete() -> None:
    merged = merge([QueueEmpty(), Response({"a": 1})])
    assert (merged.data, merged.is_complete) == ({"a": 1}, False)


def test_an_incomplete_part_makes_it_incomplete() -> None:
    assert not merge([Response({"a": 1}), Response(None, INCOMPLETE)]).is_complete


def test_an_empty_part_beside_data_leaves_it_complete() -> None:
    assert merge([Response({"a": 1}), Response({})]).is_complete


def test_two_parts_without_a_document_are_an_empty_document_that_is_incomplete() -> None:
    merged = merge([Response(None, INCOMPLETE), Response(None, INCOMPLETE)])
    assert (merged.data, merged.is_complete) == ({}, False)


def test_a_lone_null_beside_failures_stays_null() -> None:
    merged = merge([Response(None, INCOMPLETE), QueueEmpty()])
    assert (merged.data, merged.is_complete) == (None, False)


def test_an_answer_tells_whether_a_part_failed_or_is_only_incomplete() -> None:
    incomplete = Response({"error_a": 404}, INCOMPLETE)
    assert merge([QueueEmpty(), Response({"a": 1})]).has_failures
    assert not merge([incomplete, Response({"a": 1})]).has_failures


def test_publishes_alone_have_no_document_and_are_complete() -> None:
    merged = merge([Response(), Response()])
    assert (merged.data, merged.is_complete) == (None, True)


def test_a_publish_beside_data_leaves_it_complete() -> None:
    merged = merge([Response(), Response({"a": 1})])
    assert (merged.data, merged.is_complete) == ({"a": 1}, True)


def test_when_nothing_answers_the_worst_failure_of_amqp_is_raised() -> None:
    failures: list[GatewayError] = [
        QueueEmpty(),
        Unroutable(""),
        Undecodable(""),
        OutcomeUnknown(""),
        BrokerUnavailable(""),
    ]
    while failures:
        with pytest.raises(GatewayError) as caught:
            merge(failures)
        assert caught.value is failures.pop()


def test_when_no_backend_of_several_answers_the_texts_of_all_are_raised() -> None:
    with pytest.raises(SeveralFailures) as caught:
        merge([BackendStatusError(404, "no such thing", ""), DeadlineExceeded()])
    assert str(caught.value) == "no such thing\ncontext deadline exceeded"


def test_a_failure_that_the_client_does_not_see_is_reported_with_its_request() -> None:
    request, failure = Request("GET", "/", {}), GatewayError("no")
    reported: list[tuple[GatewayError, Request | None]] = []
    merge([failure, Response({})], lambda *report: reported.append(report), request)
    assert reported == [(failure, request)]
