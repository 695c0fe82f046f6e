"""The fair limiter and its queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from anyio import CancelScope, Event, create_task_group, wait_all_tasks_blocked
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.auth.fair_limiter import FairLimiter, FairQueue, QueueFull

pytestmark = pytest.mark.anyio

PATHS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), max_size=30)


def filled(paths: Sequence[tuple[str, ...]]) -> FairQueue[int]:
    queue: FairQueue[int] = FairQueue()
    for number, path in enumerate(paths):
        queue.push(path, number)
    return queue


def test_names_take_turns_at_each_level() -> None:
    paths = [("a", "x"), ("a", "x"), ("a", "y"), ("b", "x"), ("a", "x")]
    queue = filled(paths)
    assert [queue.pop() for _ in paths] == [0, 3, 2, 1, 4]


def test_the_newest_item_of_the_name_with_the_most_items_is_dropped() -> None:
    queue = filled([("a", "x"), ("a", "y"), ("a", "y"), ("b", "x"), ("b", "x"), ("c", "x")])
    assert [queue.drop() for _ in range(6)] == [2, 4, 1, 5, 3, 0]


@given(PATHS, st.data())
def test_every_item_comes_out_once(paths: list[tuple[str, str]], data: st.DataObject) -> None:
    queue = filled(paths)
    left = dict(enumerate(paths))
    while left:
        assert len(queue) == len(left)
        match data.draw(st.sampled_from(["pop", "drop", "remove"])):
            case "pop":
                del left[queue.pop()]
            case "drop":
                most = max(Counter(path[0] for path in left.values()).values())
                dropped = left.pop(queue.drop())
                assert sum(path[0] == dropped[0] for path in left.values()) == most - 1
            case _:
                number = data.draw(st.sampled_from(sorted(left)))
                queue.remove(left.pop(number), number)
    assert not queue


async def test_at_most_the_allowed_number_runs_at_once() -> None:
    limiter, running, most = FairLimiter(2, 100), 0, 0

    async def work() -> None:
        nonlocal running, most
        async with limiter.slot(["a"]):
            running += 1
            most = max(most, running)
            await wait_all_tasks_blocked()
            running -= 1

    async with create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(work)
    assert (most, running, limiter.waiting) == (2, 0, 0)


async def test_a_slot_is_passed_on_if_its_waiter_is_cancelled() -> None:
    limiter, release, order = FairLimiter(1, 100), Event(), list[str]()

    async def work(name: str, scope: CancelScope) -> None:
        with scope:
            async with limiter.slot([name]):
                order.append(name)
                await release.wait()
                for cancelled in scopes["cancelled with its turn"]:
                    cancelled.cancel()

    async with create_task_group() as tasks:
        scopes: dict[str, list[CancelScope]] = {
            "first": [CancelScope()],
            "cancelled with its turn": [CancelScope()],
            "cancelled in the queue": [CancelScope()],
            "last": [CancelScope()],
        }
        for name, (scope,) in scopes.items():
            tasks.start_soon(work, name, scope)
            await wait_all_tasks_blocked()
        scopes["cancelled in the queue"][0].cancel()
        await wait_all_tasks_blocked()
        assert limiter.waiting == 2
        release.set()
    assert order == ["first", "last"]
    async with limiter.slot(["again"]):
        assert limiter.waiting == 0


async def test_a_waiter_that_is_refused_and_cancelled_passes_no_slot_on() -> None:
    limiter, release = FairLimiter(1, 0), Event()

    async def work() -> None:
        async with limiter.slot(["a"]):
            await release.wait()

    async with create_task_group() as tasks:
        tasks.start_soon(work)
        await wait_all_tasks_blocked()
        with CancelScope() as scope:
            scope.cancel()
            async with limiter.slot(["b"]):
                pytest.fail("there is no room")
        with pytest.raises(QueueFull):
            async with limiter.slot(["b"]):
                pytest.fail("there is no room")
        release.set()
    async with limiter.slot(["a"]):
        assert limiter.waiting == 0
