"""Observers of the parts that branches and pipes respond with. They change nothing, so they cost
less than a stage.

Without an observer nothing is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from ..errors import GatewayError
from .proxy import Arrive, Ask, Later, Now, P, Part, Request, Response, Withdraw

ObservePart: TypeAlias = Callable[[Request, Part | None, float], object]
"""Called once for each request: its part, and the seconds it took. None: the request has ended
without a part, because the client has gone. Must not raise."""

TimedOut: TypeAlias = Callable[[Request], GatewayError]
"""As ``timed_out`` of a branch."""


def observed_parts(branch: P, observe: ObservePart) -> P:
    """The branch with an observer. It can be asked in the same ways."""
    now, later, ask = branch.now, branch.later, branch.ask
    return replace(
        branch,
        now=None if now is None else _now(now, observe),
        later=None if later is None else _later(later, observe),
        ask=None if ask is None else _ask(ask, branch.timed_out, observe),
    )


def _now(inner: Now, observe: ObservePart) -> Now:
    def now(request: Request) -> Response | None:
        started = perf_counter()
        try:
            response = inner(request)
        except Exception as error:
            observe(request, _failure(error), perf_counter() - started)
            raise
        if response is not None:
            observe(request, response, perf_counter() - started)
        return response

    return now


def _later(inner: Later, observe: ObservePart) -> Later:
    def later(request: Request, arrive: Arrive) -> Withdraw:
        waiting = _ObservedWait(request, arrive, observe, perf_counter())
        try:
            withdraw = inner(request, waiting.arrived)
        except Exception as error:
            waiting.failed(_failure(error))
            raise
        if waiting.arrive is not None:  # otherwise its part is here already
            waiting.withdraw = withdraw
        return waiting

    return later


def _ask(inner: Ask, timed_out: TimedOut, observe: ObservePart) -> Ask:
    async def ask(request: Request) -> Response:
        started = perf_counter()
        part: Part | None = None
        try:
            part = response = await inner(request)
        except Exception as error:
            part = None if request.client.is_gone else _failure(error)
            raise
        except BaseException:  # cancelled: by the deadline, or because the client has gone
            part = None if request.client.is_gone else timed_out(request)
            raise
        finally:
            observe(request, part, perf_counter() - started)
        return response

    return ask


def _failure(error: Exception) -> GatewayError:
    return error if isinstance(error, GatewayError) else GatewayError("internal error")


class _ObservedWait(Struct, eq=False):
    """A request while it waits for its part. It is also the function that withdraws the request.

    ``arrive``: None if there is nothing that arrives any more. ``withdraw``: of the branch; it
    refers to this object: it is dropped when the wait ends, so that no reference cycle is left.
    """

    request: Request
    arrive: Arrive | None
    observe: ObservePart
    started: float
    withdraw: Withdraw | None = None

    def arrived(self, part: Part) -> None:
        arrive = self.arrive
        if arrive is not None:
            self.arrive = self.withdraw = None
            self.observe(self.request, part, perf_counter() - self.started)
            arrive(part)

    def failed(self, failure: GatewayError) -> None:
        """The branch has raised an error in place of a part."""
        self._end(failure)

    def __call__(self) -> Part | None:
        withdraw = self.withdraw
        if withdraw is None:
            return None
        part = withdraw()
        self._end(None if self.request.client.is_gone else part)
        return part

    def _end(self, part: Part | None) -> None:
        if self.arrive is not None:
            self.arrive = self.withdraw = None
            self.observe(self.request, part, perf_counter() - self.started)
