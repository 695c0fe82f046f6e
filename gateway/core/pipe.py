"""All branches behind one endpoint: their task group, their deadline, the merge of their parts.

Knows no HTTP and no AMQP. :func:`parallel` says through which states a request goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..errors import GatewayError
from ..telemetry.logs import get_logger
from .bridge import AnyioTimedEvent, TimedEvent
from .merging import Report, ignore, merge
from .pending import AwaitedBranches, PendingBranches, ask_all, named, wait
from .proxy import (
    Arrive,
    Ask,
    Branch,
    Later,
    NewEvent,
    Part,
    Pipe,
    Request,
    Response,
    Withdraw,
    nothing_to_withdraw,
)
from .sequence import Propagate
from .tasks import called_back

log = get_logger("gateway.pipe")

MERGE_SHARE = 0.85
"""The part of the endpoint's timeout that several backends have (lura, merging.go)."""


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
                part = named(error, branch)
            if part is None:
                unasked.append(branch)
            else:
                arrived.append(part)
        return unasked

    def later(request: Request, arrive: Arrive) -> Withdraw:
        arrived: list[Part] = []
        unasked = ask_now(request, arrived)
        if unasked:
            return _Merging(request, unasked, arrived, arrive, report).start()
        arrive(_merged(request, arrived, report))
        return nothing_to_withdraw

    async def ask(request: Request) -> Response:
        arrived: list[Part] = []
        unasked = ask_now(request, arrived)
        if unasked:
            pending = AwaitedBranches(unasked, arrived, new_event())
            await ask_all(pending, request, request.deadline - reserve, request.client)
        return merge(arrived, report, request)

    if all(branch.later is not None for branch in branches):
        return Pipe(later=later, reads_body=reads_body, reserve=reserve, new_event=new_event)
    return Pipe(ask, reads_body=reads_body)


class _Merging(PendingBranches):
    """The branches of one request that need no task, until the last part has arrived."""

    __slots__ = ("_arrive", "_report", "_request")

    def __init__(
        self,
        request: Request,
        branches: Sequence[Branch],
        arrived: list[Part],
        arrive: Arrive,
        report: Report,
    ) -> None:
        super().__init__(branches, arrived)
        self._request = request
        self._arrive = arrive
        self._report = report

    def complete(self) -> None:
        self._arrive(_merged(self._request, self._arrived, self._report))

    def start(self) -> Withdraw:
        try:
            self.begin(self._request)
        except BaseException:
            self.end()
            raise
        return self.withdraw if self._missing else nothing_to_withdraw

    def withdraw(self) -> Part | None:
        if not self.end() or self._request.client.is_gone:
            return None
        return _merged(self._request, self._arrived, self._report)


def _merged(request: Request, arrived: Sequence[Part], report: Report) -> Part:
    """The response made of the parts, or the failure."""
    try:
        return merge(arrived, report, request)
    except GatewayError as error:
        return error
    except Exception:  # this may run in a callback of a connection, which others share
        log.exception("%s: an unexpected error in a merge", request.path)
        request.park()
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
                return merge([*answered, error], report, request)
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
    pending = AwaitedBranches([branch], arrived, new_event())
    await ask_all(pending, request, request.deadline, request.client)
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
        await wait(awaited.create_event(), request.client, deadline)
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


def _response_or_raise(part: Part) -> Response:
    """The part, if it is a response; a failure is raised."""
    if isinstance(part, GatewayError):
        raise part
    return part
