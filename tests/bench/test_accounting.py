"""A message that is lost or duplicated is found."""

from __future__ import annotations

from bench.accounting import SHARED_NUMBER, Accounting, combined, consumed, published
from bench.load.plan import Step
from bench.messages import PUBLISHED, first_number, message, numbers_in, template

from .fake import load

FILLED = {first_number(0) + each for each in range(20)}


def test_a_server_that_loses_a_message_is_caught() -> None:
    """It skips every fifth message; nothing of them is left in the queue."""
    numbers = sorted(FILLED)
    kept = [number for each, number in enumerate(numbers) if each % 5]
    result, _ = load(
        lambda number: 0.0,
        lambda number: message(0, kept[number]),
        mode="open",
        steps=[Step(80, 0.2)],
        collects=True,
    )
    assert result.steps[0].statuses == {200: 16}
    assert consumed(FILLED, result.received, []) == Accounting(20, lost=4, duplicated=0)


def test_a_server_that_responds_with_a_message_twice_is_caught() -> None:
    numbers = sorted(FILLED)
    result, _ = load(
        lambda number: 0.0,
        lambda number: message(0, numbers[min(number, 9)]),
        mode="open",
        steps=[Step(60, 0.2)],
        collects=True,
    )
    assert consumed(FILLED, result.received, numbers[10:]) == Accounting(20, lost=0, duplicated=2)


def test_a_message_in_a_response_and_in_the_queue_is_duplicated() -> None:
    numbers = sorted(FILLED)
    assert consumed(FILLED, numbers[:10], numbers[9:]).duplicated == 1


def test_messages_of_a_generator_without_numbers_may_be_in_doubt_and_no_more_than_that() -> None:
    numbers = sorted(FILLED)
    remaining = numbers[12:]
    assert consumed(FILLED, [], remaining, unidentified=10, possibly_taken=2) == Accounting(
        20, 0, 0, 2
    )
    assert consumed(FILLED, [], remaining, unidentified=9, possibly_taken=2) == Accounting(
        20, 1, 0, 2
    )


def test_a_confirmed_message_that_is_not_in_the_queue_is_lost() -> None:
    confirmed = [PUBLISHED + each for each in range(5)]
    queued = confirmed[1:]
    assert published(confirmed, queued).lost == 1
    assert published(confirmed, [*queued, queued[0]]) == Accounting(5, 1, 1)


def test_published_messages_without_a_number_are_counted() -> None:
    unidentified_queued = [SHARED_NUMBER] * 10
    assert published([], unidentified_queued, unidentified=10).is_clean
    assert published([], unidentified_queued, unidentified=11).lost == 1
    assert published([], unidentified_queued, unidentified=8, possibly_taken=2) == Accounting(
        8, 0, 0, 2
    )
    assert published([], unidentified_queued, unidentified=7, possibly_taken=2).duplicated == 1


def test_accountings_add_up() -> None:
    assert combined([]) is None
    assert combined([Accounting(1, 1, 0), Accounting(2, 0, 1, 3)]) == Accounting(3, 1, 1, 3)


def test_a_message_has_its_size_and_its_number() -> None:
    for size in (130, 10_000):
        before, after = template(size)
        text = b"%b%d%b" % (before, PUBLISHED + 7, after)
        assert abs(len(text) - size) < 25
        assert numbers_in([text, message(3, 12, size)]) == [PUBLISHED + 7, 12]
