"""Concurrent calls of one branch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from anyio import current_time

from .bridge import AnyioTimedEvent, TimedEvent
from .merging import merge
from .pending import AwaitedBranches, ask_all
from .proxy import Branch, Client, NewEvent, Part, Request, Response, Watcher


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
        await ask_all(pending, asked, deadline, None)
        answers = [part for part in arrived if isinstance(part, Response)]
        for answer in answers:
            if answer.is_whole:
                return answer
        return merge(answers[-1:] or arrived[-1:])

    return Branch(ask, timed_out=branch.timed_out, reads_body=branch.reads_body)


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


class _Race(AwaitedBranches):
    """``done`` is also set when one of the calls has a whole response."""

    __slots__ = ("_client",)

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
