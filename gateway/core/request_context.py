"""The context (:mod:`contextvars`) of one request that has no task.

Hooks and scripts may use context variables. Callbacks of connections run in contexts that other
requests share. So what a backend sends enters the context of its request first.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TypeVar, TypeVarTuple

from msgspec.structs import replace

from .proxy import Arrive, Branch, Later, Request, Withdraw

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class RequestContext:
    """May be entered again by what runs in it."""

    __slots__ = ("_context", "_is_inside")

    def __init__(self) -> None:
        self._context = copy_context()
        self._is_inside = False

    def run(self, func: Callable[[*Ts], T], *args: *Ts) -> T:
        if self._is_inside:
            return func(*args)
        self._is_inside = True
        try:
            return self._context.run(func, *args)
        finally:
            self._is_inside = False


def in_context(branch: Branch) -> Branch:
    """The branch, whose parts arrive in the context of their request, if it has one."""
    if branch.later is None:
        return branch
    return replace(branch, later=_entering(branch.later))


def _entering(inner: Later) -> Later:
    def later(request: Request, arrive: Arrive) -> Withdraw:
        context = request.context
        return inner(request, arrive if context is None else partial(context.run, arrive))

    return later
