"""All branches behind one endpoint: the endpoint's nursery, its deadline, its merge."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias

from anyio import move_on_after
from anyio.abc import TaskGroup

from .errors import GatewayError
from .merging import merge
from .proxy import AtOnce, Branch, Request, Response
from .tasks import open_tasks

Part: TypeAlias = Response | GatewayError

MERGE_SHARE = 0.85
"""The part of the endpoint's timeout that several parallel backends have (lura, merging.go)."""


def within(branch: Branch, timeout: float) -> Branch:
    """The lone branch of an endpoint, under its deadline of ``timeout`` seconds."""
    return parallel([branch], timeout)


def parallel(branches: Sequence[Branch], timeout: float) -> Branch:
    """Ask all branches at once and merge what comes until ``timeout`` seconds are over.

    A branch that can answer at once is asked so; tasks exist only for those that have to wait.
    When the deadline comes, what is there is the answer, and each branch that is late says what
    that means. The client going away cancels all of them.
    """
    at_once = [branch.at_once for branch in branches]
    if not any(at_once):
        at_once = []

    async def proxy(request: Request) -> Response:
        arrived: list[Part] = []
        late: Sequence[Branch] = branches
        if at_once:
            late = []
            for branch, ask in zip(branches, at_once, strict=True):
                part = _ask_at_once(ask, request)
                if part is None:
                    late.append(branch)
                else:
                    arrived.append(part)
        if late:
            await _wait_for(late, request, timeout, arrived)
        return merge(arrived)

    return Branch(proxy, reads_body=any(branch.reads_body for branch in branches))


def _ask_at_once(ask: AtOnce | None, request: Request) -> Part | None:
    if ask is None:
        return None
    try:
        return ask(request)
    except GatewayError as error:
        return error


async def _wait_for(
    late: Sequence[Branch], request: Request, timeout: float, arrived: list[Part]
) -> None:
    """Append to ``arrived`` what each branch answers, in order of arrival."""
    pending = dict.fromkeys(range(len(late)))

    async def ask(number: int) -> None:
        try:
            part: Part = await late[number].proxy(request)
        except GatewayError as error:
            part = error
        del pending[number]
        arrived.append(part)

    with move_on_after(timeout) as waiting:
        watcher = request.client.watch(waiting)
        if watcher is None and len(late) == 1:
            await ask(0)  # nothing beside it: no nursery
        else:
            async with open_tasks() as branches:
                await _ask_all(branches, ask, len(late), watcher)
    arrived.extend(late[number].timed_out() for number in pending)


async def _ask_all(
    branches: TaskGroup,
    ask: Callable[[int], Coroutine[Any, Any, None]],
    number: int,
    watcher: Callable[[], Coroutine[Any, Any, None]] | None,
) -> None:
    """Each branch in a task; the watch over the client ends with the last of them."""
    if watcher is None:
        for each in range(1, number):
            branches.start_soon(ask, each)
        await ask(0)
        return
    branches.start_soon(watcher)
    async with open_tasks() as asked:
        await _ask_all(asked, ask, number, None)
    branches.cancel_scope.cancel()
