"""Layers: what happens to every request before its endpoint, and to every response.

A layer is described by what it has to know of a request. From that comes its ASGI form, and, where
it never waits, a plain form for requests without a task (:mod:`gateway.router.direct`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from msgspec import Struct

from .asgi import AddedHeaders, AsgiResponse, Receive, Scope, Send, send_answer, with_headers
from .proxy import Guard

Decision: TypeAlias = AsgiResponse | AddedHeaders | None
"""A layer responds itself, or adds headers to the response, or does nothing."""

App: TypeAlias = Callable[..., Awaitable[None]]
"""An ASGI application, or a handler, which has one more argument."""


class Layer(Struct, frozen=True):
    """Has ``decide`` or ``wrap``.

    ``decide``: the decision depends on nothing but the head of the request, so it is the same for
    equal heads. ``wrap``: any other layer. ``guard``: all that this layer does, if it never waits.
    Raises :class:`gateway.errors.Refused`.
    """

    decide: Callable[[Scope], Decision] | None = None
    wrap: Callable[[App], App] | None = None
    guard: Guard | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it has a form without a task."""
        return self.decide is not None or self.guard is not None

    def around(self, app: App) -> App:
        """The ASGI form."""
        if self.decide is not None:
            return _deciding(app, self.decide)
        return app if self.wrap is None else self.wrap(app)


def _deciding(app: App, decide: Callable[[Scope], Decision]) -> App:
    async def decided(scope: Scope, receive: Receive, send: Send, *params: Any) -> None:
        decision = decide(scope) if scope["type"] == "http" else None
        if decision is None:
            await app(scope, receive, send, *params)
        elif isinstance(decision, AsgiResponse):
            await send_answer(send, decision)
        else:
            await app(scope, receive, with_headers(send, decision), *params)

    return decided
