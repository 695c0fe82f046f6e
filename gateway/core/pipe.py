"""All branches behind one endpoint: their task group, their deadline, the merge of their parts.

Knows no HTTP and no AMQP. :func:`parallel` says through which states a request goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from anyio import current_time

from ..errors import GatewayError
from ..telemetry.logs import get_logger
from .bridge import AnyioTimedEvent, TimedEvent
from .merging import merge
from .proxy import (
    Arrive,
    Ask,
    Branch,
    Client,
    Later,
    NewEvent,
    Part,
    Pipe,
    Request,
    Response,
    Watcher,
    Withdraw,
    nothing_to_withdraw,
)
from .sequence import Propagate
from .tasks import called_back, open_tasks

log = get_logger("gateway.pipe")

MERGE_SHARE = 0.85
"""The part of the endpoint's timeout that several backends have (lura, merging.go)."""

Report: TypeAlias = Callable[[GatewayError], object]
"""Gets each failure that the client does not see, because other branches have responded."""


def ignore(failure: GatewayError) -> None:
    """Reports nothing."""


def coroutine_of(pipe: Pipe) -> Ask:
    """The pipe as a coroutine function, however it can be asked."""
    now, later, inner, new_event = pipe.now, pipe.later, pipe.ask, pipe.new_event

    async def ask(request: Request) -> Response:
        if now is not None and (response := now(request)) is not None:
            return response
        if later is None:
            assert inner is not None
            return await inner(request)
        if new_event is None:
            return await called_back(partial(later, request))
        deadline = request.deadline - pipe.reserve
        return await _ask_without_task(pipe, later, request, deadline, new_event)

    return inner if now is None and inner is not None else ask


def within(branch: Branch, new_event: NewEvent = AnyioTimedEvent) -> Pipe:
    """The lone branch of an endpoint, until the request's deadline."""
    if branch.later is None:
        return parallel([branch], new_event)
    return Pipe(
        None,
        branch.now,
        branch.later,
        branch.timed_out,
        branch.reads_body,
        new_event=new_event,
    )


def parallel(
    branches: Sequence[Branch],
    new_event: NewEvent = AnyioTimedEvent,
    *,
    reserve: float = 0.0,
    report: Report = ignore,
) -> Pipe:
    """Ask all branches at once and merge what comes until ``reserve`` seconds before the request's
    deadline.

    A request goes through these states:

    1. Asked ``now``: each branch that has ``now`` responds at once, fails, or returns None.
    2. Begun: the other branches are pending. Those with ``later`` are asked and call back; each of
       those with only ``ask`` gets a task.
    3. Waiting, until the last part has arrived, the client has disconnected, or the deadline. The
       tasks that still run are then cancelled.
    4. Withdrawn: each branch without a part is withdrawn. The failure that this means, such as a
       timeout, is its part.
    5. Merged: the response is made of the parts. ``report`` gets the failures of a response that is
       not complete.

    A request skips the states that it does not need: 2 to 4, if every branch has responded in 1;
    3, if every pending branch calls back before its ``later`` returns. If no branch needs a task,
    the pipe does not either.
    """
    asked = [(branch, branch.now) for branch in branches]
    reads_body = any(branch.reads_body for branch in branches)

    def ask_now(request: Request, arrived: list[Part]) -> Sequence[Branch]:
        """Returns the branches that have to wait."""
        unasked = []
        for branch, now in asked:
            try:
                part: Part | None = None if now is None else now(request)
            except GatewayError as error:
                part = _named(error, branch)
            if part is None:
                unasked.append(branch)
            else:
                arrived.append(part)
        return unasked

    def later(request: Request, arrive: Arrive) -> Withdraw:
        arrived: list[Part] = []
        unasked = ask_now(request, arrived)
        merging = _Merging(request, arrived, len(unasked), arrive, report)
        if not unasked:
            arrive(merging.merged())
            return nothing_to_withdraw
        return merging.begin(unasked)

    async def ask(request: Request) -> Response:
        arrived: list[Part] = []
        unasked = ask_now(request, arrived)
        if unasked:
            pending = _PendingBranches(unasked, arrived, new_event())
            await _ask_all(pending, request, request.deadline - reserve, request.client)
        return merge(arrived, report)

    if all(branch.later is not None for branch in branches):
        return Pipe(later=later, reads_body=reads_body, reserve=reserve, new_event=new_event)
    return Pipe(ask, reads_body=reads_body)


class _Merging:
    """The branches of one request that need no task, until the last part has arrived."""

    __slots__ = ("_arrive", "_arrived", "_missing", "_report", "_request", "_withdrawals")

    def __init__(
        self,
        request: Request,
        arrived: list[Part],
        missing: int,
        arrive: Arrive,
        report: Report,
    ) -> None:
        self._request = request
        self._arrived = arrived
        self._missing = missing
        self._arrive = arrive
        self._report = report
        self._withdrawals: list[tuple[Branch, Withdraw]] = []

    def begin(self, branches: Sequence[Branch]) -> Withdraw:
        request, arrived = self._request, self.arrived
        try:
            for branch in branches:
                assert branch.later is not None
                self._withdrawals.append((branch, branch.later(request, arrived)))
        except BaseException:
            self.withdraw()
            raise
        if not self._missing:
            self._withdrawals.clear()
            return nothing_to_withdraw
        return self.withdraw

    def arrived(self, part: Part) -> None:
        self._arrived.append(part)
        self._missing -= 1
        if not self._missing:
            self._withdrawals.clear()  # they refer to self: no reference cycle is left
            self._arrive(self.merged())

    def withdraw(self) -> Part | None:
        withdrawals, self._withdrawals = self._withdrawals, []
        if not withdrawals:
            return None
        for branch, withdraw in withdrawals:
            if (part := withdraw()) is not None:
                self._arrived.append(_named(part, branch))
        return None if self._request.client.is_gone else self.merged()

    def merged(self) -> Part:
        try:
            return merge(self._arrived, self._report)
        except GatewayError as error:
            return error
        except Exception:  # this may run in a callback of a connection, which others share
            log.exception("%s: an unexpected error in a merge", self._request.path)
            self._request.park()
            return GatewayError("internal error")


def sequential(
    branches: Sequence[Branch],
    propagations: Sequence[Propagate],
    new_event: NewEvent = AnyioTimedEvent,
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
                part = await _ask_one(branch, request, new_event)
            except GatewayError as error:
                error.backend = branch.name
                if not answered:
                    raise
                return merge([*answered, error], report)
            answered.append(part)
            if not part.is_whole:
                break
        return merge(answered)

    return Pipe(ask, reads_body=any(branch.reads_body for branch in branches))


async def _ask_one(branch: Branch, request: Request, new_event: NewEvent) -> Response:
    """Ask one branch: now, without a task, or in a task, the first of these that it can."""
    if branch.now is not None and (response := branch.now(request)) is not None:
        return response
    if branch.later is not None:
        return await _ask_without_task(branch, branch.later, request, request.deadline, new_event)
    arrived: list[Part] = []
    pending = _PendingBranches([branch], arrived, new_event())
    await _ask_all(pending, request, request.deadline, request.client)
    return _response_or_raise(arrived[0])


async def _ask_without_task(
    branch: Pipe, later: Later, request: Request, deadline: float, new_event: NewEvent
) -> Response:
    """Ask one branch by its ``later``, and wait for its part."""
    awaited = _AwaitedPart(new_event)
    withdraw = later(request, awaited.arrive)
    if awaited.part is not None:
        return _response_or_raise(awaited.part)
    try:
        await _wait(awaited.create_event(), request.client, deadline)
    except BaseException:
        withdraw()
        raise
    # Its part may have arrived after the wait ended and before the withdrawal.
    return _response_or_raise(awaited.part or withdraw() or branch.timed_out(request))


class _AwaitedPart:
    """The part of one branch, and an event for the task that waits for it. The event is created
    only if the part has not arrived when ``later`` returns."""

    __slots__ = ("_event", "_new_event", "part")

    def __init__(self, new_event: NewEvent) -> None:
        self.part: Part | None = None
        self._new_event = new_event
        self._event: TimedEvent | None = None

    def arrive(self, part: Part) -> None:
        self.part = part
        if self._event is not None:
            self._event.set()

    def create_event(self) -> TimedEvent:
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


def _response_or_raise(part: Part) -> Response:
    """The part, if it is a response; a failure is raised."""
    if isinstance(part, GatewayError):
        raise part
    return part


def race(
    branch: Branch,
    calls: int,
    new_event: NewEvent = AnyioTimedEvent,
    *,
    timeout: float,
) -> Branch:
    """Ask one branch ``calls`` times at once: the first whole response counts.

    If there is none after ``timeout`` seconds, or at the request's deadline, the last incomplete
    response counts, else the last failure. The pipe around the race watches the client.
    """
    branches = [branch] * calls

    async def ask(request: Request) -> Response:
        arrived: list[Part] = []
        client = _RaceClient(request.client)
        asked = request.copy()
        asked.client = client
        pending = _Race(branches, arrived, new_event(), client)
        deadline = min(request.deadline, current_time() + timeout)
        await _ask_all(pending, asked, deadline, None)
        answers = [part for part in arrived if isinstance(part, Response)]
        for answer in answers:
            if answer.is_whole:
                return answer
        return merge(answers[-1:] or arrived[-1:])

    return Branch(ask, timed_out=branch.timed_out, reads_body=branch.reads_body)


async def _ask_all(
    pending: _PendingBranches, request: Request, deadline: float, client: Client | None
) -> None:
    """Ask the pending branches. Wait until all have responded or failed, or the deadline, or
    ``client`` has disconnected."""
    try:
        branch_tasks = pending.begin(request)
        if not branch_tasks:
            if pending.is_waiting:
                await _wait(pending.done, client, deadline)
            return
        async with open_tasks() as tasks:
            for branch_task in branch_tasks:
                tasks.start_soon(branch_task.run)
            await _wait(pending.done, client, deadline)
            tasks.cancel_scope.cancel()
    finally:
        pending.end()


class _PendingBranches:
    """The branches of one request that have not responded at once, from their begin to their end.

    A branch is pending until its part arrives or it is withdrawn. ``arrived`` gets the parts in the
    order of arrival. ``done`` is set after the last part, or when the client disconnects.
    """

    def __init__(self, branches: Sequence[Branch], arrived: list[Part], done: TimedEvent) -> None:
        self.done = done
        self._branches = branches
        self._arrived = arrived
        self._missing = len(branches)
        self._withdrawals: list[Withdraw] = []

    def begin(self, request: Request) -> list[_BranchTask]:
        """Ask the branches that need no task. Returns what the tasks of the others run."""
        branch_tasks = []
        arrive, withdrawals = self.arrive, self._withdrawals
        for branch in self._branches:
            if branch.later is not None:
                withdrawals.append(branch.later(request, arrive))
            else:
                branch_task = _BranchTask(branch, request, arrive)
                branch_tasks.append(branch_task)
                withdrawals.append(branch_task.withdraw)
        return branch_tasks

    @property
    def is_waiting(self) -> bool:
        return self._missing > 0

    def arrive(self, part: Part) -> None:
        self._arrived.append(part)
        self._missing -= 1
        if not self._missing:
            self.done.set()

    def end(self) -> None:
        """The wait is over: each branch without a part is withdrawn. The failure that this means is
        its part."""
        if self._missing:
            for branch, withdraw in zip(self._branches, self._withdrawals, strict=False):
                if (part := withdraw()) is not None:
                    self._arrived.append(_named(part, branch))
        self._withdrawals.clear()  # the withdrawals refer to self: no reference cycle is left


class _BranchTask:
    """Asks one branch that has only ``ask``, in a task of its own. With ``withdraw`` it looks like
    a branch that has ``later``."""

    def __init__(self, branch: Branch, request: Request, arrive: Arrive) -> None:
        self._branch = branch
        self._request = request
        self._arrive = arrive
        self._is_answered = False

    async def run(self) -> None:
        try:
            assert self._branch.ask is not None
            part: Part = await self._branch.ask(self._request)
        except GatewayError as error:
            part = _named(error, self._branch)
        self._is_answered = True
        self._arrive(part)

    def withdraw(self) -> GatewayError | None:
        return None if self._is_answered else self._branch.timed_out(self._request)


def _named(part: Part, branch: Branch) -> Part:
    """The part; a failure gets the name of its branch."""
    if isinstance(part, GatewayError):
        part.backend = branch.name
    return part


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


class _Race(_PendingBranches):
    """``done`` is also set when one of the calls has a whole response."""

    def __init__(
        self, branches: Sequence[Branch], arrived: list[Part], done: TimedEvent, client: _RaceClient
    ) -> None:
        super().__init__(branches, arrived, done)
        self._client = client

    def arrive(self, part: Part) -> None:
        super().arrive(part)
        if isinstance(part, Response) and part.is_whole:
            self._client.is_over = True
            self.done.set()
