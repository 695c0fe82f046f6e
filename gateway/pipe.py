"""All branches behind one endpoint: the endpoint's nursery, its deadline, its merge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from .bridge import AnyioSignal, Signal
from .errors import GatewayError
from .merging import merge
from .proxy import AtOnce, Branch, Part, Request, Response
from .tasks import open_tasks

MERGE_SHARE = 0.85
"""The part of the endpoint's timeout that several parallel backends have (lura, merging.go)."""


def within(branch: Branch, timeout: float, signal: Callable[[], Signal] = AnyioSignal) -> Branch:
    """The lone branch of an endpoint, under its deadline of ``timeout`` seconds."""
    at_once, later = branch.at_once, branch.later
    if later is None:
        return parallel([branch], timeout, signal)

    async def proxy(request: Request) -> Response:
        if at_once is not None and (response := at_once(request)) is not None:
            return response
        answer = signal()
        watcher = request.client.watch(answer.set)
        withdraw = later(request, answer.set)
        try:
            if watcher is None:
                part = await answer.wait(timeout)
            else:
                async with open_tasks() as tasks:
                    tasks.start_soon(watcher)
                    part = await answer.wait(timeout)
                    tasks.cancel_scope.cancel()
        except BaseException:
            withdraw()
            raise
        part = part or withdraw() or branch.timed_out(request)
        if isinstance(part, GatewayError):
            raise part
        return cast(Response, part)

    return Branch(proxy, reads_body=branch.reads_body)


def parallel(
    branches: Sequence[Branch],
    timeout: float,
    signal: Callable[[], Signal] = AnyioSignal,
) -> Branch:
    """Ask all branches at once and merge what comes until ``timeout`` seconds are over.

    A branch that can answer at once is asked so, one that can wait without a task is asked so;
    tasks exist only for the others.
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
            await _wait_for(late, request, timeout, arrived, signal())
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
    late: Sequence[Branch],
    request: Request,
    timeout: float,
    arrived: list[Part],
    signal: Signal,
) -> None:
    """Append to ``arrived`` what each branch answers, in order of arrival."""
    waiting = _Waiting(late, arrived, signal)
    watcher = request.client.watch(signal.set)
    try:
        busy = waiting.begin(request)
        if not busy and watcher is None:
            await signal.wait(timeout)
        else:
            async with open_tasks() as tasks:
                for number in busy:
                    tasks.start_soon(waiting.ask, number, request)
                if watcher is not None:
                    tasks.start_soon(watcher)
                await signal.wait(timeout)
                tasks.cancel_scope.cancel()
    finally:
        waiting.end(request)


class _Waiting:
    """The branches of one request that are late.

    ``done`` is set when the last one has answered, or the client has gone.
    """

    def __init__(self, late: Sequence[Branch], arrived: list[Part], done: Signal) -> None:
        self._done = done
        self._late = late
        self._arrived = arrived
        self._pending = dict.fromkeys(range(len(late)))
        self._withdraw: list[tuple[int, Callable[[], GatewayError | None]]] = []

    def begin(self, request: Request) -> list[int]:
        """Ask those who need no task; returns the numbers of the others."""
        busy = []
        for number, branch in enumerate(self._late):
            if branch.later is None:
                busy.append(number)
            else:
                withdraw = branch.later(request, partial(self.arrive, number))
                self._withdraw.append((number, withdraw))
        return busy

    async def ask(self, number: int, request: Request) -> None:
        try:
            part: Part = await self._late[number].proxy(request)
        except GatewayError as error:
            part = error
        self.arrive(number, part)

    def arrive(self, number: int, part: Part) -> None:
        del self._pending[number]
        self._arrived.append(part)
        if not self._pending:
            self._done.set()

    def end(self, request: Request) -> None:
        """Nobody waits any more: each branch that is late says what that means."""
        for number, withdraw in self._withdraw:
            problem = withdraw()
            if number in self._pending:
                del self._pending[number]
                self._arrived.append(problem or self._late[number].timed_out(request))
        for number in self._pending:
            self._arrived.append(self._late[number].timed_out(request))
