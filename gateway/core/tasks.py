"""Task groups that raise a single error as itself, and other ways to wait."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

from anyio import TASK_STATUS_IGNORED, Event, create_task_group, get_cancelled_exc_class
from anyio.abc import TaskGroup, TaskStatus

from ..errors import GatewayError

T = TypeVar("T")


@asynccontextmanager
async def open_tasks() -> AsyncGenerator[TaskGroup]:
    """A task group. If one error ends it, that error is raised, not a group of one error."""
    try:
        async with create_task_group() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        single = _single_error(group)
        if single is None:
            raise
        # The error keeps its own cause and context; the group around it has no more information.
        raise single from single.__cause__


@asynccontextmanager
async def open_together(
    contexts: Iterable[AbstractAsyncContextManager[object]],
) -> AsyncGenerator[None]:
    """Enter the contexts one after the other; leave all of them at the same time."""
    leave = Event()

    async def keep(
        context: AbstractAsyncContextManager[object],
        *,
        task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
    ) -> None:
        async with context:
            task_status.started()
            await leave.wait()

    async with open_tasks() as tasks:
        for context in contexts:
            await tasks.start(keep, context)
        yield
        leave.set()


async def called_back(
    start: Callable[[Callable[[T | GatewayError], None]], Callable[[], object]],
) -> T:
    """Wait until ``start`` has called its argument, and return what it was called with; a
    :class:`GatewayError` is raised.

    ``start`` returns a function that withdraws: it is called if the wait is cancelled.
    """
    results: list[T | GatewayError] = []
    is_here = Event()

    def arrive(result: T | GatewayError) -> None:
        results.append(result)
        is_here.set()

    withdraw = start(arrive)
    try:
        await is_here.wait()
    except BaseException:
        withdraw()
        raise
    result = results[0]
    if isinstance(result, GatewayError):
        raise result
    return result


def _single_error(error: BaseException) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup):
        if len(error.exceptions) != 1:
            return None
        error = error.exceptions[0]
    return error


def must_pass(error: BaseException) -> bool:
    """Whether an error must pass through: a cancellation, or the interrupt of an operator. Every
    other error ends one request only, also ``SystemExit`` and the panics of libraries written in
    Rust, which are not an ``Exception``.
    """
    passing = (get_cancelled_exc_class(), KeyboardInterrupt)
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(passing) is not None
    return isinstance(error, passing)
