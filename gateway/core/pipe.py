"""All branches behind one endpoint: the endpoint's nursery, its deadline, its merge."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias, cast

from anyio import current_time

from ..errors import GatewayError
from .bridge import AnyioSignal, Signal
from .merging import merge
from .proxy import Arrive, Branch, Client, Part, Request, Response
from .sequence import Fill
from .tasks import open_tasks

MERGE_SHARE = 0.85
"""The part of the endpoint's timeout that several backends have (lura, merging.go)."""

Report: TypeAlias = Callable[[GatewayError], object]

Withdraw: TypeAlias = Callable[[], GatewayError | None]
Watcher: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


def ignore(failure: GatewayError) -> None:
    """Report nothing."""


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
        # The last: an answer that came when nobody waited any more.
        part = part or withdraw() or branch.timed_out(request)
        if isinstance(part, GatewayError):
            raise part
        return cast(Response, part)

    return Branch(proxy, reads_body=branch.reads_body)


def parallel(
    branches: Sequence[Branch],
    timeout: float,
    signal: Callable[[], Signal] = AnyioSignal,
    report: Report = ignore,
) -> Branch:
    """Ask all branches at once and merge what comes until ``timeout`` seconds are over.

    A branch that can answer at once is asked so, one that can wait without a task is asked so;
    tasks exist only for the others.
    When the deadline comes, what is there is the answer, and each branch that is late says what
    that means. The client going away cancels all of them. ``report`` gets the failures of an answer
    that is not complete.
    """
    asked = [(branch, branch.at_once) for branch in branches]
    asks_at_once = any(ask for _, ask in asked)

    async def proxy(request: Request) -> Response:
        arrived: list[Part] = []
        late: Sequence[Branch] = branches
        if asks_at_once:
            late = []
            for branch, ask in asked:
                try:
                    part: Part | None = None if ask is None else ask(request)
                except GatewayError as error:
                    part = _of(branch, error)
                if part is None:
                    late.append(branch)
                else:
                    arrived.append(part)
        if late:
            waiting = _Waiting(late, arrived, signal())
            watcher = request.client.watch(waiting.done.set)
            await _wait_for(waiting, request, timeout, watcher)
        return merge(arrived, report)

    return Branch(proxy, reads_body=any(branch.reads_body for branch in branches))


def sequential(
    branches: Sequence[Branch],
    fills: Sequence[Fill],
    timeout: float,
    signal: Callable[[], Signal] = AnyioSignal,
    report: Report = ignore,
) -> Branch:
    """Ask one branch after the other, within ``timeout`` seconds for all of them.

    ``fills``: for each branch, what it needs of those before it. A failure of the first is the
    failure of all; later ones, and incomplete answers, end the chain: what is there is the answer.
    """
    steps = list(zip(branches, fills, strict=True))

    async def proxy(request: Request) -> Response:
        end = current_time() + timeout
        request = request.copy()
        answered: list[Response] = []
        for branch, fill in steps:
            try:
                fill(request.params, answered)
                part = await _ask(branch, request, end, signal)
            except GatewayError as error:
                _of(branch, error)
                if not answered:
                    raise
                return merge([*answered, error], report)
            answered.append(part)
            if not part.is_whole:
                break
        return merge(answered)

    return Branch(proxy, reads_body=any(branch.reads_body for branch in branches))


async def _ask(
    branch: Branch, request: Request, end: float, signal: Callable[[], Signal]
) -> Response:
    if branch.at_once is not None and (response := branch.at_once(request)) is not None:
        return response
    arrived: list[Part] = []
    waiting = _Waiting([branch], arrived, signal())
    watcher = request.client.watch(waiting.done.set)
    await _wait_for(waiting, request, max(0.0, end - current_time()), watcher)
    if isinstance(arrived[0], GatewayError):
        raise arrived[0]
    return arrived[0]


def race(
    branch: Branch,
    calls: int,
    timeout: float,
    signal: Callable[[], Signal] = AnyioSignal,
) -> Branch:
    """Ask one branch ``calls`` times at once: the first whole answer counts.

    Without one until ``timeout`` seconds are over, the last incomplete answer, else the last
    failure. Whoever is behind this one watches the client.
    """
    entrants = [branch] * calls

    async def proxy(request: Request) -> Response:
        arrived: list[Part] = []
        client = _Onlooker(request.client)
        asked = request.copy()
        asked.client = client
        waiting = _Race(entrants, arrived, signal(), client)
        await _wait_for(waiting, asked, timeout, None)
        answers = [part for part in arrived if isinstance(part, Response)]
        for answer in answers:
            if answer.is_whole:
                return answer
        return merge(answers[-1:] or arrived[-1:])

    return Branch(proxy, timed_out=branch.timed_out, reads_body=branch.reads_body)


async def _wait_for(
    waiting: _Waiting, request: Request, timeout: float, watcher: Watcher | None
) -> None:
    """Until all have answered who must, or the time is over, or the client has gone."""
    done = waiting.done
    try:
        busy = waiting.begin(request)
        if not busy and watcher is None:
            await done.wait(timeout)
        else:
            async with open_tasks() as tasks:
                for question in busy:
                    tasks.start_soon(question.ask)
                if watcher is not None:
                    tasks.start_soon(watcher)
                await done.wait(timeout)
                tasks.cancel_scope.cancel()
    finally:
        waiting.end()


class _Waiting:
    """The branches of one request that are late; ``arrived`` gets what they answer, in order.

    ``done`` is set when the last one has answered, or the client has gone.
    """

    def __init__(self, late: Sequence[Branch], arrived: list[Part], done: Signal) -> None:
        self.done = done
        self._late = late
        self._arrived = arrived
        self._missing = len(late)
        self._withdrawals: list[Withdraw] = []

    def begin(self, request: Request) -> list[_Question]:
        """Ask those who need no task; returns what the others are to be asked in one."""
        busy = []
        arrive, withdrawals = self.arrive, self._withdrawals
        for branch in self._late:
            if branch.later is not None:
                withdrawals.append(branch.later(request, arrive))
            else:
                question = _Question(branch, request, arrive)
                busy.append(question)
                withdrawals.append(question.withdraw)
        return busy

    def arrive(self, part: Part) -> None:
        self._arrived.append(part)
        self._missing -= 1
        if not self._missing:
            self.done.set()

    def end(self) -> None:
        """Nobody waits any more: each branch that is late says what that means."""
        if self._missing:
            for branch, withdraw in zip(self._late, self._withdrawals, strict=False):
                if (failure := withdraw()) is not None:
                    self._arrived.append(_of(branch, failure))
        self._withdrawals.clear()  # they know us: no cycle is left behind


class _Question:
    """One branch that is asked in a task."""

    def __init__(self, branch: Branch, request: Request, arrive: Arrive) -> None:
        self._branch = branch
        self._request = request
        self._arrive = arrive
        self._is_answered = False

    async def ask(self) -> None:
        try:
            part: Part = await self._branch.proxy(self._request)
        except GatewayError as error:
            part = _of(self._branch, error)
        self._is_answered = True
        self._arrive(part)

    def withdraw(self) -> GatewayError | None:
        return None if self._is_answered else self._branch.timed_out(self._request)


def _of(branch: Branch, failure: GatewayError) -> GatewayError:
    """The failure, with the name of its branch."""
    failure.backend = branch.name
    return failure


class _Onlooker:
    """The client of those in a race: it has gone for the losers."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.is_over = False

    @property
    def is_gone(self) -> bool:
        return self.is_over or self._client.is_gone

    def watch(self, gone: Callable[[], object]) -> Watcher | None:
        return self._client.watch(gone)


class _Race(_Waiting):
    """``done`` is set when one of them has a whole answer, too."""

    def __init__(
        self, entrants: Sequence[Branch], arrived: list[Part], done: Signal, client: _Onlooker
    ) -> None:
        super().__init__(entrants, arrived, done)
        self._client = client

    def arrive(self, part: Part) -> None:
        super().arrive(part)
        if isinstance(part, Response) and part.is_whole:
            self._client.is_over = True
            self.done.set()
