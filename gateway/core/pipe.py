"""All branches behind one endpoint: their task group, their deadline, the merge of their parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from anyio import current_time

from ..errors import GatewayError
from .bridge import AnyioTimedEvent, TimedEvent
from .merging import merge
from .proxy import (
    Arrive,
    Ask,
    Branch,
    Client,
    Later,
    Part,
    Pipe,
    Request,
    Response,
    Watcher,
    Withdraw,
)
from .sequence import Propagate
from .tasks import called_back, open_tasks

MERGE_SHARE = 0.85
"""The part of the endpoint's timeout that several backends have (lura, merging.go)."""

NewEvent: TypeAlias = Callable[[], TimedEvent]

Report: TypeAlias = Callable[[GatewayError], object]


def ignore(failure: GatewayError) -> None:
    """Reports nothing."""


def coroutine_of(pipe: Pipe) -> Ask:
    """The pipe as a coroutine function, however it can be asked."""
    now, later, inner = pipe.now, pipe.later, pipe.ask

    async def ask(request: Request) -> Response:
        if now is not None and (response := now(request)) is not None:
            return response
        if later is None:
            assert inner is not None
            return await inner(request)
        return await called_back(partial(later, request))

    return inner if now is None and inner is not None else ask


def within(branch: Branch, event: NewEvent = AnyioTimedEvent) -> Pipe:
    """The lone branch of an endpoint, until the request's deadline."""
    now, later = branch.now, branch.later
    if later is None:
        return parallel([branch], event)

    async def ask(request: Request) -> Response:
        if now is not None and (response := now(request)) is not None:
            return response
        return await _wait_for_one(branch, later, request, request.deadline, event)

    return Pipe(ask, reads_body=branch.reads_body)


def parallel(
    branches: Sequence[Branch],
    event: NewEvent = AnyioTimedEvent,
    *,
    reserve: float = 0.0,
    report: Report = ignore,
) -> Pipe:
    """Ask all branches at once and merge what comes until ``reserve`` seconds before the request's
    deadline.

    Branches that can answer now are asked first, then those that wait without a task; tasks exist
    only for the others. At the deadline the response is made of what is there, and each late branch
    says what that means. If the client disconnects, all of them are cancelled. ``report`` gets the
    failures of a response that is not complete.
    """
    asked = [(branch, branch.now) for branch in branches]
    asks_now = any(now for _, now in asked)

    async def ask(request: Request) -> Response:
        arrived: list[Part] = []
        late: Sequence[Branch] = branches
        if asks_now:
            late = []
            for branch, now in asked:
                try:
                    part: Part | None = None if now is None else now(request)
                except GatewayError as error:
                    part = _of(branch, error)
                if part is None:
                    late.append(branch)
                else:
                    arrived.append(part)
        if late:
            waiting = _LateBranches(late, arrived, event())
            await _wait_for(waiting, request, request.deadline - reserve, request.client)
        return merge(arrived, report)

    return Pipe(ask, reads_body=any(branch.reads_body for branch in branches))


def sequential(
    branches: Sequence[Branch],
    propagations: Sequence[Propagate],
    event: NewEvent = AnyioTimedEvent,
    *,
    reserve: float = 0.0,
    report: Report = ignore,
) -> Pipe:
    """Ask one branch after the other, until ``reserve`` seconds before the request's deadline.

    ``propagations``: for each branch, how it gets values of earlier responses. If the first branch
    fails, the pipe fails. If a later one fails, or a response is incomplete, the sequence ends, and
    the response is made of the parts so far.
    """
    steps = list(zip(branches, propagations, strict=True))

    async def ask(request: Request) -> Response:
        request = request.copy()
        request.deadline -= reserve
        answered: list[Response] = []
        for branch, propagate in steps:
            try:
                propagate(request.params, answered)
                part = await _ask(branch, request, event)
            except GatewayError as error:
                _of(branch, error)
                if not answered:
                    raise
                return merge([*answered, error], report)
            answered.append(part)
            if not part.is_whole:
                break
        return merge(answered)

    return Pipe(ask, reads_body=any(branch.reads_body for branch in branches))


async def _ask(branch: Branch, request: Request, event: NewEvent) -> Response:
    """Ask one branch."""
    if branch.now is not None and (response := branch.now(request)) is not None:
        return response
    if branch.later is not None:
        return await _wait_for_one(branch, branch.later, request, request.deadline, event)
    arrived: list[Part] = []
    waiting = _LateBranches([branch], arrived, event())
    await _wait_for(waiting, request, request.deadline, request.client)
    return _response(arrived[0])


async def _wait_for_one(
    branch: Branch, later: Later, request: Request, deadline: float, event: NewEvent
) -> Response:
    answer = _Arrival(event)
    withdraw = later(request, answer.arrive)
    if answer.part is not None:
        return _response(answer.part)
    try:
        await _wait(answer.event(), request.client, deadline)
    except BaseException:
        withdraw()
        raise
    # Its part may have arrived after the wait ended and before the withdrawal.
    return _response(answer.part or withdraw() or branch.timed_out(request))


class _Arrival:
    """The part of one branch, and an event for the task that waits for it."""

    __slots__ = ("_event", "_new_event", "part")

    def __init__(self, new_event: NewEvent) -> None:
        self.part: Part | None = None
        self._new_event = new_event
        self._event: TimedEvent | None = None

    def arrive(self, part: Part) -> None:
        self.part = part
        if self._event is not None:
            self._event.set()

    def event(self) -> TimedEvent:
        self._event = self._new_event()
        return self._event


async def _wait(done: TimedEvent, client: Client | None, deadline: float) -> None:
    """Until ``done`` is set, or the client disconnects, or the deadline."""
    watcher = client.watch(done.set) if client is not None else None
    if watcher is None:
        await done.wait(deadline)
        return
    async with open_tasks() as tasks:
        tasks.start_soon(watcher)
        await done.wait(deadline)
        tasks.cancel_scope.cancel()


def _response(part: Part) -> Response:
    if isinstance(part, GatewayError):
        raise part
    return part


def race(
    branch: Branch,
    calls: int,
    event: NewEvent = AnyioTimedEvent,
    *,
    timeout: float,
) -> Branch:
    """Ask one branch ``calls`` times at once: the first whole response counts.

    If there is none after ``timeout`` seconds, or at the request's deadline, the last incomplete
    response counts, else the last failure. The pipe around the race watches the client.
    """
    entrants = [branch] * calls

    async def ask(request: Request) -> Response:
        arrived: list[Part] = []
        client = _RaceClient(request.client)
        asked = request.copy()
        asked.client = client
        waiting = _Race(entrants, arrived, event(), client)
        deadline = min(request.deadline, current_time() + timeout)
        await _wait_for(waiting, asked, deadline, None)
        answers = [part for part in arrived if isinstance(part, Response)]
        for answer in answers:
            if answer.is_whole:
                return answer
        return merge(answers[-1:] or arrived[-1:])

    return Branch(ask, timed_out=branch.timed_out, reads_body=branch.reads_body)


async def _wait_for(
    waiting: _LateBranches, request: Request, deadline: float, client: Client | None
) -> None:
    """Until all branches have answered, or the deadline, or ``client`` has disconnected."""
    try:
        busy = waiting.begin(request)
        if not busy:
            if waiting.is_waiting:
                await _wait(waiting.done, client, deadline)
            return
        async with open_tasks() as tasks:
            for question in busy:
                tasks.start_soon(question.ask)
            await _wait(waiting.done, client, deadline)
            tasks.cancel_scope.cancel()
    finally:
        waiting.end()


class _LateBranches:
    """The branches of one request that could not answer at once.

    ``arrived`` gets their parts in the order of arrival. ``done`` is set after the last part, or
    when the client disconnects.
    """

    def __init__(self, late: Sequence[Branch], arrived: list[Part], done: TimedEvent) -> None:
        self.done = done
        self._late = late
        self._arrived = arrived
        self._missing = len(late)
        self._withdrawals: list[Withdraw] = []

    def begin(self, request: Request) -> list[_TaskCall]:
        """Ask the branches that need no task. Returns the calls of the others, one task each."""
        busy = []
        arrive, withdrawals = self.arrive, self._withdrawals
        for branch in self._late:
            if branch.later is not None:
                withdrawals.append(branch.later(request, arrive))
            else:
                question = _TaskCall(branch, request, arrive)
                busy.append(question)
                withdrawals.append(question.withdraw)
        return busy

    @property
    def is_waiting(self) -> bool:
        return self._missing > 0

    def arrive(self, part: Part) -> None:
        self._arrived.append(part)
        self._missing -= 1
        if not self._missing:
            self.done.set()

    def end(self) -> None:
        """The wait is over: each branch without a part is withdrawn, and says what that means."""
        if self._missing:
            for branch, withdraw in zip(self._late, self._withdrawals, strict=False):
                if (failure := withdraw()) is not None:
                    self._arrived.append(_of(branch, failure))
        self._withdrawals.clear()  # the withdrawals refer to self: no reference cycle is left


class _TaskCall:
    """One branch that runs in a task."""

    def __init__(self, branch: Branch, request: Request, arrive: Arrive) -> None:
        self._branch = branch
        self._request = request
        self._arrive = arrive
        self._is_answered = False

    async def ask(self) -> None:
        try:
            assert self._branch.ask is not None
            part: Part = await self._branch.ask(self._request)
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


class _RaceClient:
    """The client of concurrent calls: after the first whole response it is gone for the others."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.is_over = False

    @property
    def is_gone(self) -> bool:
        return self.is_over or self._client.is_gone

    def watch(self, gone: Callable[[], object]) -> Watcher | None:
        return self._client.watch(gone)


class _Race(_LateBranches):
    """``done`` is also set when one of the calls has a whole response."""

    def __init__(
        self, entrants: Sequence[Branch], arrived: list[Part], done: TimedEvent, client: _RaceClient
    ) -> None:
        super().__init__(entrants, arrived, done)
        self._client = client

    def arrive(self, part: Part) -> None:
        super().arrive(part)
        if isinstance(part, Response) and part.is_whole:
            self._client.is_over = True
            self.done.set()
