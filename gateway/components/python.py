"""``gateway/python``: functions of Python before a request and after its answer (ours).

What they are given is in :mod:`gateway.hooks`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

from anyio import CancelScope
from msgspec import Struct
from msgspec.structs import replace

from .. import hooks
from ..config.structs import Backend, Endpoint
from ..core.component import Assembly, Component
from ..core.forwarding import build_filter
from ..core.pipe import coroutine_of
from ..core.proxy import NO_DEADLINE, Ask, P, Request, Response, Stage
from ..core.stage import Begun, Call, intercepted
from ..core.tasks import must_pass
from ..errors import DeadlineExceeded, GatewayError
from ..telemetry.logs import get_logger

log = get_logger("gateway.python")

Hook: TypeAlias = Callable[..., Any]


class PythonSettings(Struct, frozen=True, kw_only=True):
    """``module:function`` each; empty: none."""

    request: str = ""
    response: str = ""


def verify_python(settings: PythonSettings) -> Iterator[tuple[str, str]]:
    """What cannot be imported."""
    for key in ("request", "response"):
        if name := getattr(settings, key):
            try:
                import_hook(name)
            except ValueError as error:
                yield key, str(error)


def import_hook(name: str) -> Hook:
    """The function that ``module:function`` names. Raises ValueError."""
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path:
        raise ValueError(f'expected "module:function", found "{name}"')
    try:
        found: Any = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may raise anything
        raise ValueError(f"{module_name}: {type(error).__name__}: {error}") from error
    for attribute in path.split("."):
        if not hasattr(found, attribute):
            raise ValueError(f'{module_name} has no "{path}"')
        found = getattr(found, attribute)
    if not callable(found):
        raise ValueError(f"{name} cannot be called")
    hook: Hook = found
    return hook


def build_endpoint_hooks(settings: PythonSettings, endpoint: Endpoint, assembly: Assembly) -> Stage:
    """Around the whole pipe. An ``async`` hook has until the request's deadline."""
    called = Hooks(settings, build_filter(endpoint, assembly.service), is_timed=True)
    return lambda pipe: called.awaited_around(pipe)


def build_backend_hooks(
    settings: PythonSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Stage:
    """Around one backend, within its deadline."""
    called = Hooks(settings, build_filter(endpoint, assembly.service, backend))
    reads_body = called.before is not None

    def stage(branch: P, /) -> P:
        if called.waits:
            return called.awaited_around(branch)
        return intercepted(branch, called, is_pure=not reads_body, reads_body=reads_body)

    return stage


class Hooks:
    """The hooks of one place. ``waits``: one of them is ``async``. ``is_timed``: the deadline ends
    an ``async`` hook here; otherwise the pipe does it, which says what it means for the branch."""

    def __init__(
        self,
        settings: PythonSettings,
        filtered: Callable[[Request], Request],
        *,
        is_timed: bool = False,
    ) -> None:
        self.before = import_hook(settings.request) if settings.request else None
        self.after = import_hook(settings.response) if settings.response else None
        self.waits = any(_is_async(hook) for hook in (self.before, self.after))
        self._names = settings
        self._filtered = filtered
        self._is_timed = is_timed

    def awaited_around(self, branch: P) -> P:
        """The branch with hooks that may wait."""
        reads_body = branch.reads_body or self.before is not None
        ask = self._ask(coroutine_of(branch))
        return replace(branch, ask=ask, now=None, later=None, reads_body=reads_body)

    def _ask(self, inner: Ask) -> Ask:
        async def ask(request: Request) -> Response:
            copy = self._filtered(request)
            deadline = request.deadline if self._is_timed else NO_DEADLINE
            if self.before is not None:
                view = hooks.Request(copy)
                try:
                    answer = await self._call(deadline, self._names.request, self.before, view)
                except GatewayError as error:
                    error.reached_backend = False
                    raise
                if answer is not None:
                    return self._answer(answer)
                request = copy
            response = await inner(request)
            if self.after is None:
                return response
            answered, view = hooks.Response.of(response), hooks.Request(copy)
            try:
                await self._call(deadline, self._names.response, self.after, view, answered)
                return answered.finished()
            except GatewayError:
                response.park()
                raise

        return ask

    def begin(self, request: Request) -> Call | Response:
        """Where no hook waits."""
        copy = self._filtered(request)
        asked = request
        if self.before is not None:
            answer = self._call_now(self._names.request, self.before, hooks.Request(copy))
            if answer is not None:
                return self._answer(answer)
            asked = copy
        return Begun(asked, partial(self._finished, copy))

    def _finished(self, copy: Request, request: Request, response: Response) -> Response:
        if self.after is None:
            return response
        view = hooks.Response.of(response)
        self._call_now(self._names.response, self.after, hooks.Request(copy), view)
        return view.finished()

    async def _call(self, deadline: float, name: str, hook: Hook, *arguments: object) -> Any:
        result = self._call_now(name, hook, *arguments)
        if not inspect.isawaitable(result):
            return result
        try:
            with CancelScope(deadline=deadline):
                return await result
        except GatewayError:
            raise
        except BaseException as error:
            if must_pass(error):
                raise
            raise _failure(name, error) from error
        raise DeadlineExceeded

    def _call_now(self, name: str, hook: Hook, *arguments: object) -> Any:
        try:
            return hook(*arguments)
        except (GatewayError, KeyboardInterrupt):
            raise
        except BaseException as error:  # also SystemExit: a hook ends its own request, no more
            raise _failure(name, error) from error

    def _answer(self, answer: object) -> Response:
        if isinstance(answer, hooks.Response):
            return answer.finished()
        found = type(answer).__name__
        raise GatewayError(f"{self._names.request}: expected a Response or None, found {found}")


def _is_async(hook: Hook | None) -> bool:
    return inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(
        getattr(hook, "__call__", None)  # noqa: B004 - of an object that is called like one
    )


def _failure(name: str, error: BaseException) -> GatewayError:
    log.error("%s has failed", name, exc_info=error)
    return GatewayError(f"{name} has failed")


COMPONENT = Component(
    "gateway/python",
    PythonSettings,
    verify=verify_python,
    backend_stage=build_backend_hooks,
    endpoint_stage=build_endpoint_hooks,
)
