"""``gateway/python``: Python functions before a request and after its response (an extension).

Their arguments are the classes of :mod:`gateway.hooks`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

from anyio import CancelScope
from msgspec import Struct
from msgspec.structs import replace

from ..config.structs import Backend, Endpoint
from ..core.component import Assembly, Component
from ..core.forwarding import build_filter
from ..core.pipe import coroutine_of
from ..core.proxy import NO_DEADLINE, Ask, P, Request, Response, Stage
from ..core.stage import BegunCall, Call, intercepted
from ..core.tasks import must_pass
from ..errors import DeadlineExceeded, GatewayError
from ..hooks import HookRequest, HookResponse
from ..telemetry.logs import get_logger

log = get_logger("gateway.python")

Hook: TypeAlias = Callable[..., object]


class PythonSettings(Struct, frozen=True, kw_only=True):
    request: str = ""
    """The function that is called with each request, as ``module:function``. Absent: none."""
    response: str = ""
    """The function that is called with each response, as ``module:function``. Absent: none."""


def verify_python(settings: PythonSettings) -> Iterator[tuple[str, str]]:
    """Functions that cannot be imported."""
    for key, name in (("request", settings.request), ("response", settings.response)):
        if name:
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
        found: object = importlib.import_module(module_name)
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
    return found


def build_endpoint_hooks(settings: PythonSettings, endpoint: Endpoint, assembly: Assembly) -> Stage:
    """Around the whole pipe. An ``async`` hook has until the request's deadline."""
    hooked = Hooks(settings, build_filter(endpoint, assembly.service), is_timed=True)
    return lambda pipe: hooked.awaited_around(pipe)


def build_backend_hooks(
    settings: PythonSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Stage:
    """Around one backend, within its deadline."""
    hooked = Hooks(settings, build_filter(endpoint, assembly.service, backend))
    reads_body = hooked.before is not None

    def stage(branch: P, /) -> P:
        if hooked.waits:
            return hooked.awaited_around(branch)
        return intercepted(branch, hooked, is_pure=not reads_body, reads_body=reads_body)

    return stage


class Hooks:
    """The hooks of one endpoint or one backend.

    ``waits``: one of them is ``async``. ``is_timed``: the request's deadline ends an ``async`` hook
    here; otherwise the pipe ends it and decides what that means for the branch.
    """

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
                view = HookRequest(copy)
                try:
                    early = await self._call(deadline, self._names.request, self.before, view)
                except GatewayError as error:
                    error.reached_backend = False
                    raise
                if early is not None:
                    return self._response(early)
                request = copy
            response = await inner(request)
            if self.after is None:
                return response
            view, response_view = HookRequest(copy), HookResponse.of(response)
            try:
                await self._call(deadline, self._names.response, self.after, view, response_view)
                return response_view.finished()
            except GatewayError:
                response.park()
                raise

        return ask

    def begin(self, request: Request) -> Call | Response:
        """For hooks that do not wait."""
        copy = self._filtered(request)
        changed = request
        if self.before is not None:
            early = self._call_now(self._names.request, self.before, HookRequest(copy))
            if early is not None:
                return self._response(early)
            changed = copy
        return BegunCall(changed, partial(self._finished, copy))

    def _finished(self, copy: Request, request: Request, response: Response) -> Response:
        if self.after is None:
            return response
        view = HookResponse.of(response)
        self._call_now(self._names.response, self.after, HookRequest(copy), view)
        return view.finished()

    async def _call(self, deadline: float, name: str, hook: Hook, *arguments: object) -> object:
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

    def _call_now(self, name: str, hook: Hook, *arguments: object) -> object:
        try:
            return hook(*arguments)
        except (GatewayError, KeyboardInterrupt):
            raise
        except BaseException as error:  # also SystemExit: it ends this request and nothing else
            raise _failure(name, error) from error

    def _response(self, returned: object) -> Response:
        """The response that a request hook has returned."""
        if isinstance(returned, HookResponse):
            return returned.finished()
        found = type(returned).__name__
        raise GatewayError(f"{self._names.request}: expected a HookResponse or None, found {found}")


def _is_async(hook: Hook | None) -> bool:
    return inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(
        getattr(hook, "__call__", None)  # noqa: B004 - an object with an async __call__
    )


def _failure(name: str, error: BaseException) -> GatewayError:
    log.error("%s has failed", name, exc_info=error)
    return GatewayError(f"{name} has failed")


COMPONENT = Component(
    "gateway/python",
    PythonSettings,
    verify=verify_python,
    runs_scripts=True,
    backend_stage=build_backend_hooks,
    endpoint_stage=build_endpoint_hooks,
)
