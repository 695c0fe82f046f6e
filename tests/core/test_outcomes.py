"""What became of the messages of a request."""

from __future__ import annotations

import logging

import pytest

from gateway.core.outcomes import WORST_FIRST, MessageOutcomes


def test_the_worst_outcome_counts() -> None:
    outcomes = MessageOutcomes()
    assert outcomes.outcome == ""
    outcomes.found_empty = True
    assert outcomes.outcome == "empty"
    for each in reversed(WORST_FIRST):
        outcomes.published("")
        outcomes.settled(each)
        assert outcomes.outcome == each


def test_what_waits_for_the_last_message_is_called_once() -> None:
    outcomes = MessageOutcomes()
    calls: list[str] = []
    outcomes.consumed("1", is_redelivered=True)
    outcomes.published("2")
    outcomes.settled("acked")
    outcomes.when_settled(lambda: calls.append(outcomes.outcome))
    assert calls == []
    outcomes.settled("nacked")
    assert calls == ["nacked"]
    assert outcomes.ids == ["1", "2"]
    assert outcomes.redelivered == [True]


def test_an_error_after_the_last_message_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("broken")

    outcomes = MessageOutcomes()
    outcomes.published("")
    outcomes.when_settled(fail)
    with caplog.at_level(logging.ERROR):
        outcomes.settled("acked")
    assert "broken" in caplog.text
