"""``gateway/python``: functions of Python before a request and after its answer (ours).

What they are given is in :mod:`gateway.hooks`.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from anyio import fail_after
from msgspec import Struct

from .. import hooks
from ..assembly import Assembly
from ..config.structs import Backend, Endpoint
from ..errors import DeadlineExceeded, GatewayError
from ..forwarding import build_filter
from ..proxy import Arrive, AtOnce, Branch, Later, Part, Proxy, Request, Response, Stage

log = logging.getLogger("gateway.python")

Hook: TypeAlias = Callable[..., Any]
Answered: TypeAlias = tuple[Request, Response | None]
"""The request as its backends get it; the answer, when the hook has given one."""


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
    except Exception as error:  # a module may raise anything
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
    """Around the whole pipe. An ``async`` hook has the endpoint's ``timeout``."""
    called = Hooks(settings, build_filter(endpoint, assembly.service), endpoint.timeout)
    return lambda pipe: Branch(
        called.around(pipe.proxy), reads_body=pipe.reads_body or called.before is not None
    )


def build_backend_hooks(
    settings: PythonSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Stage:
    """Around one backend, within its deadline."""
    called = Hooks(settings, build_filter(endpoint, assembly.service, backend), None)

    def stage(branch: Branch) -> Branch:
        at_once: AtOnce | None = None
        later: Later | None = None
        if not called.waits:
            if branch.at_once is not None and called.before is None:
                at_once = called.around_at_once(branch.at_once)
            if branch.later is not None:
                later = called.around_later(branch.later, branch.at_once)
        return branch._replace(
            proxy=called.around(branch.proxy),
            at_once=at_once,
            later=later,
            reads_body=branch.reads_body or called.before is not None,
        )

    return stage


class Hooks:
    """The hooks of one place. ``waits``: one of them is ``async``. ``timeout``: seconds for an
    ``async`` hook; None: whoever asks knows the deadline."""

    def __init__(
        self,
        settings: PythonSettings,
        filtered: Callable[[Request], Request],
        timeout: float | None,
    ) -> None:
        self.before = import_hook(settings.request) if settings.request else None
        self.after = import_hook(settings.response) if settings.response else None
        self.waits = any(_is_async(hook) for hook in (self.before, self.after))
        self._names = settings
        self._filtered = filtered
        self._timeout = timeout

    def around(self, inner: Proxy) -> Proxy:
        """May wait for the hooks."""

        async def proxy(request: Request) -> Response:
            copy = self._filtered(request)
            if self.before is not None:
                view = hooks.Request(copy)
                answer = await self._call(self._names.request, self.before, view)
                if answer is not None:
                    return self._answer(answer)
            response = await inner(request if self.before is None else copy)
            if self.after is None:
                return response
            answered = hooks.Response.of(response)
            await self._call(self._names.response, self.after, hooks.Request(copy), answered)
            return answered.finished()

        return proxy

    def around_at_once(self, inner: AtOnce) -> AtOnce:
        """Where no hook waits, and none stands before the request: it would be called twice when
        the branch has to wait."""

        def at_once(request: Request) -> Response | None:
            response = inner(request)
            return None if response is None else self._finished(self._filtered(request), response)

        return at_once

    def around_later(self, inner: Later, at_once: AtOnce | None) -> Later:
        """Where no hook waits: without a task. ``at_once``: asked before."""

        def later(request: Request, arrive: Arrive) -> Callable[[], GatewayError | None]:
            try:
                copy, response = self._begun(request)
                if response is None and self.before is not None and at_once is not None:
                    response = at_once(copy)
                    if response is not None:
                        response = self._finished(copy, response)
            except GatewayError as error:
                response_or_error: Part = error
            else:
                if response is None:
                    asked = request if self.before is None else copy
                    return inner(asked, lambda part: arrive(self._part(copy, part)))
                response_or_error = response
            arrive(response_or_error)
            return _nothing_to_withdraw

        return later

    def _begun(self, request: Request) -> Answered:
        copy = self._filtered(request)
        if self.before is None:
            return copy, None
        answer = self._call_now(self._names.request, self.before, hooks.Request(copy))
        return copy, None if answer is None else self._answer(answer)

    def _finished(self, request: Request, response: Response) -> Response:
        if self.after is None:
            return response
        answered = hooks.Response.of(response)
        self._call_now(self._names.response, self.after, hooks.Request(request), answered)
        return answered.finished()

    def _part(self, request: Request, part: Part) -> Part:
        if isinstance(part, GatewayError):
            return part
        try:
            return self._finished(request, part)
        except GatewayError as error:
            return error

    async def _call(self, name: str, hook: Hook, *arguments: object) -> Any:
        try:
            result = hook(*arguments)
            if inspect.isawaitable(result):
                if self._timeout is None:
                    return await result
                with fail_after(self._timeout):
                    return await result
        except GatewayError:
            raise
        except TimeoutError as error:
            raise DeadlineExceeded from error
        except Exception as error:
            raise _failure(name, error) from error
        return result

    def _call_now(self, name: str, hook: Hook, *arguments: object) -> Any:
        try:
            return hook(*arguments)
        except GatewayError:
            raise
        except Exception as error:
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


def _failure(name: str, error: Exception) -> GatewayError:
    log.error("%s has failed", name, exc_info=error)
    return GatewayError(f"{name} has failed")


def _nothing_to_withdraw() -> None:
    """The answer is here."""
