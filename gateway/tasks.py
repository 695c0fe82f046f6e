"""Task groups whose lone error comes out as itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from anyio import create_task_group
from anyio.abc import TaskGroup


@asynccontextmanager
async def open_tasks() -> AsyncGenerator[TaskGroup]:
    """A nursery. When one error ends it, that error is raised, not a group of one."""
    try:
        async with create_task_group() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        lone = _lone_error(group)
        if lone is None:
            raise
        # Its own cause and context stay; the group around it says nothing more.
        raise lone from lone.__cause__


def _lone_error(error: BaseException) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup):
        if len(error.exceptions) != 1:
            return None
        error = error.exceptions[0]
    return error
