"""Branches of one request that have not responded yet, from their begin to their end.

:mod:`.pipe` says through which states a request goes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..errors import GatewayError
from .bridge import TimedEvent
from .proxy import Arrive, Branch, Client, Part, Request, Withdraw
from .tasks import open_tasks


class PendingBranches(ABC):
    """A branch is pending until its part arrives or it is withdrawn. ``arrived`` gets the parts in
    the order of arrival."""

    __slots__ = ("_arrived", "_branches", "_missing", "_withdrawals")

    def __init__(self, branches: Sequence[Branch], arrived: list[Part]) -> None:
        self._branches = branches
        self._arrived = arrived
        self._missing = len(branches)
        self._withdrawals: list[Withdraw] = []

    @abstractmethod
    def complete(self) -> None:
        """Called after the last part."""

    def begin(self, request: Request) -> list[BranchTask]:
        """Ask the branches that need no task. Returns what the tasks of the others run."""
        branch_tasks = []
        arrive, withdrawals = self.arrive, self._withdrawals
        for branch in self._branches:
            if branch.later is not None:
                withdrawals.append(branch.later(request, arrive))
            else:
                branch_task = BranchTask(branch, request, arrive)
                branch_tasks.append(branch_task)
                withdrawals.append(branch_task.withdraw)
        if not self._missing:
            withdrawals.clear()
        return branch_tasks

    @property
    def is_waiting(self) -> bool:
        return self._missing > 0

    def arrive(self, part: Part) -> None:
        self._arrived.append(part)
        self._missing -= 1
        if not self._missing:
            self._withdrawals.clear()  # they refer to self: no reference cycle is left
            self.complete()

    def end(self) -> bool:
        """The wait is over: each branch without a part is withdrawn. The failure that this means is
        its part. False: there is no such branch, or this was called before."""
        withdrawals, self._withdrawals = self._withdrawals, []
        if not self._missing or not withdrawals:
            return False
        for branch, withdraw in zip(self._branches, withdrawals, strict=False):
            if (part := withdraw()) is not None:
                self._arrived.append(named(part, branch))
        return True


class AwaitedBranches(PendingBranches):
    """A task waits for them. ``done`` is set after the last part, or when the client
    disconnects."""

    __slots__ = ("done",)

    def __init__(self, branches: Sequence[Branch], arrived: list[Part], done: TimedEvent) -> None:
        super().__init__(branches, arrived)
        self.done = done

    def complete(self) -> None:
        self.done.set()


class BranchTask:
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
            part = named(error, self._branch)
        self._is_answered = True
        self._arrive(part)

    def withdraw(self) -> GatewayError | None:
        return None if self._is_answered else self._branch.timed_out(self._request)


def named(part: Part, branch: Branch) -> Part:
    """The part; a failure gets the name of its branch."""
    if isinstance(part, GatewayError):
        part.backend = branch.name
    return part


async def ask_all(
    pending: AwaitedBranches, request: Request, deadline: float, client: Client | None
) -> None:
    """Ask the pending branches. Wait until all have responded or failed, or the deadline, or
    ``client`` has disconnected."""
    try:
        branch_tasks = pending.begin(request)
        if not branch_tasks:
            if pending.is_waiting:
                await wait(pending.done, client, deadline)
            return
        async with open_tasks() as tasks:
            for branch_task in branch_tasks:
                tasks.start_soon(branch_task.run)
            await wait(pending.done, client, deadline)
            tasks.cancel_scope.cancel()
    finally:
        pending.end()


async def wait(done: TimedEvent, client: Client | None, deadline: float) -> None:
    """Until ``done`` is set, or the client disconnects, or the deadline."""
    watcher = client.watch(done.set) if client is not None else None
    if watcher is None:
        await done.wait(deadline)
        return
    async with open_tasks() as tasks:
        tasks.start_soon(watcher)
        await done.wait(deadline)
        tasks.cancel_scope.cancel()
