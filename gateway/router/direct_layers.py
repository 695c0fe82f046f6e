"""The layers around a request without a task: their guards, and the headers that they add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..core.asgi import AddedHeaders, AsgiResponse, Headers, Scope, Send, with_headers
from ..core.layers import Layer
from ..core.proxy import Guard

MAX_KNOWN_HEADERS = 16
"""Constant headers for which the joined headers are kept, for each head."""


class LayerGuard(NamedTuple):
    """A guard of the service. ``added``: the headers of its refusals."""

    guard: Guard
    added: ResponseHeaders


class ResponseHeaders:
    """The headers that layers add to a response. ``layers``: the outermost first."""

    __slots__ = ("_known", "_layers")

    def __init__(self, layers: Sequence[AddedHeaders]) -> None:
        self._layers = layers
        self._known: dict[Headers, Headers] = {}

    def around(self, response: AsgiResponse) -> AsgiResponse:
        headers = response.headers
        if type(headers) is not tuple:
            return AsgiResponse(response.status, self._with(headers), response.body)
        known = self._known.get(headers)
        if known is None:
            known = self._with(headers)
            if type(known) is tuple and len(self._known) < MAX_KNOWN_HEADERS:
                self._known[headers] = known
        return AsgiResponse(response.status, known, response.body)

    def _with(self, headers: Headers) -> Headers:
        for added in reversed(self._layers):
            headers = added.around(headers)
        return headers

    def on(self, send: Send) -> Send:
        """A ``send`` that adds the headers."""
        for added in self._layers:
            send = with_headers(send, added)
        return send


def around(added: ResponseHeaders | None, answer: AsgiResponse) -> AsgiResponse:
    """The response, with the headers of layers if there are some."""
    return answer if added is None else added.around(answer)


def decided(
    layers: Sequence[Layer],
    scope: Scope,
    guards: list[LayerGuard],
    outer: Sequence[AddedHeaders],
) -> list[AddedHeaders] | None:
    """``outer``, and the headers that these layers add. ``guards`` gets theirs. None: one of them
    responds itself."""
    added = [*outer]
    for layer in reversed(layers):
        if layer.guard is not None:
            guards.append(LayerGuard(layer.guard, ResponseHeaders([*added])))
        elif layer.decide is not None:
            decision = layer.decide(scope)
            if isinstance(decision, AsgiResponse):
                return None
            if decision is not None:
                added.append(decision)
    return added
