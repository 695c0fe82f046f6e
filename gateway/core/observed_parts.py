"""Observers of the parts that branches and pipes respond with. They change nothing, so they cost
less than a stage.

Without an observer nothing is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TypeAlias

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
        waiting = _ObservedWait(request, arrive, observe)
        try:
            waiting.begun(inner(request, waiting.arrived))
        except Exception as error:
            waiting.failed(_failure(error))
            raise
        return waiting.withdraw

    return later


def _ask(inner: Ask, timed_out: TimedOut, observe: ObservePart) -> Ask:
    async def ask(request: Request) -> Response:
        started = perf_counter()
        part: Part | None = None
        try:
            part = response = await inner(request)
        except Exception as error:
            part = _failure(error)
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


class _ObservedWait:
    """A request while it waits for its part."""

    __slots__ = ("_arrive", "_observe", "_request", "_started", "_withdraw")

    def __init__(self, request: Request, arrive: Arrive, observe: ObservePart) -> None:
        self._withdraw: Withdraw | None = None
        self._request = request
        self._arrive: Arrive | None = arrive
        self._observe = observe
        self._started = perf_counter()

    def begun(self, withdraw: Withdraw) -> None:
        if self._arrive is not None:  # otherwise its part is here already
            self._withdraw = withdraw

    def arrived(self, part: Part) -> None:
        arrive, self._arrive = self._arrive, None
        self._withdraw = None  # it refers to self: no reference cycle is left
        if arrive is not None:
            self._observe(self._request, part, perf_counter() - self._started)
            arrive(part)

    def failed(self, failure: GatewayError) -> None:
        """The branch has raised an error in place of a part."""
        self._end(failure)

    def withdraw(self) -> Part | None:
        withdraw = self._withdraw
        if self._arrive is None or withdraw is None:
            return None
        part = withdraw()
        self._end(None if self._request.client.is_gone else part)
        return part

    def _end(self, part: Part | None) -> None:
        """There is nothing that arrives any more."""
        if self._arrive is not None:
            self._arrive = self._withdraw = None
            self._observe(self._request, part, perf_counter() - self._started)
