"""Requests without a task: plain calls from the server to the pipe, and back.

Here the code runs in callbacks of connections, which other requests share. So nothing raises, and
nothing calls AnyIO. What cannot be done so (a guard that waits, a streamed body) continues in a
task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from functools import partial
from typing import TypeAlias, cast

from ..core.asgi import (
    AddedHeaders,
    ASGIApp,
    AsgiResponse,
    Receive,
    Scope,
    Send,
    text,
)
from ..core.bridge import Expiring, Timers
from ..core.direct import DirectClient
from ..core.layers import Layer
from ..core.observed import Observation, note_request
from ..core.proxy import Guard, Part, Request, Response, StreamedBody, Withdraw
from ..core.request_context import RequestContext
from ..core.traced import TRACE, CurrentTrace
from ..errors import Refused
from ..telemetry.logs import get_logger
from .builtin import Respond
from .direct_layers import LayerGuard, ResponseHeaders, around, decided
from .endpoint import NOWHERE, EndpointHandler, SentMessages
from .load import TOO_MANY_REQUESTS_AT_ONCE, Load
from .request import build_client
from .streaming import send_streamed

log = get_logger("gateway.router")


MakeRequest: TypeAlias = Callable[["EndpointHead", Request, DirectClient], "EndpointRequest"]


class DirectEndpoint:
    """An endpoint whose pipe needs no task.

    ``runs_scripts``: each request has a context (:mod:`contextvars`) of its own.
    ``notes_requests``: see :func:`.app.build_app`.
    """

    def __init__(
        self,
        handler: EndpointHandler,
        timers: Timers,
        *,
        runs_scripts: bool,
        notes_requests: bool = False,
    ) -> None:
        pipe = handler.pipe
        assert pipe.later is not None
        self.handler = handler
        self.timers = timers
        self.now = pipe.now
        self.later = pipe.later
        self.timed_out = pipe.timed_out
        self.reserve = pipe.reserve
        self.reads_body = pipe.reads_body
        self.guards = handler.guards
        make: MakeRequest = ScriptedRequest if runs_scripts else EndpointRequest
        self.make_request = _noting(make) if notes_requests else make

    def find_head(
        self,
        scope: Scope,
        params: dict[str, str],
        load: Load,
        outer_layers: Sequence[Layer],
        layers: Sequence[Layer],
    ) -> EndpointHead | None:
        """How requests with this head are handled; None: a layer responds in place of the endpoint.

        ``outer_layers``: around the router; ``layers``: around the endpoint. Both are plain, the
        innermost first.
        """
        guards: list[LayerGuard] = []
        outer = decided(outer_layers, scope, guards, [])
        added = None if outer is None else decided(layers, scope, guards, outer)
        if outer is None or added is None:
            return None
        return EndpointHead(self, scope, params, load, guards, outer, added)


def _noting(make: MakeRequest) -> MakeRequest:
    def make_noted(head: EndpointHead, request: Request, client: DirectClient) -> EndpointRequest:
        note_request(cast(Observation, client), request)  # of gateway.core.observed
        return make(head, request, client)

    return make_noted


class TracedDirectEndpoint(DirectEndpoint):
    """An endpoint whose requests have a trace in their scope."""

    def find_head(
        self,
        scope: Scope,
        params: dict[str, str],
        load: Load,
        outer_layers: Sequence[Layer],
        layers: Sequence[Layer],
    ) -> EndpointHead | None:
        head = super().find_head(scope, params, load, outer_layers, layers)
        if head is not None:
            head.trace(scope[TRACE])
        return head


class EndpointHead:
    """All requests with one head to one endpoint. A :class:`gateway.core.direct.DirectHead`."""

    __slots__ = (
        "_handler",
        "_headers",
        "_make_request",
        "_method",
        "_params",
        "_path",
        "_query",
        "_remote",
        "added",
        "endpoint",
        "endpoint_path",
        "has_guards",
        "layer_guards",
        "load",
        "outer",
        "reads_body",
    )

    def __init__(
        self,
        endpoint: DirectEndpoint,
        scope: Scope,
        params: dict[str, str],
        load: Load,
        guards: Sequence[LayerGuard],
        outer: Sequence[AddedHeaders],
        added: Sequence[AddedHeaders],
    ) -> None:
        self.endpoint = endpoint
        self.load = load
        self.layer_guards = guards
        self.outer = ResponseHeaders(outer) if outer else None
        self.added = ResponseHeaders(added) if added else None
        self.reads_body = endpoint.reads_body
        self.has_guards = bool(guards or endpoint.guards)
        self.endpoint_path = endpoint.handler.path
        self._make_request = endpoint.make_request
        self._handler = endpoint.handler
        self._method = scope["method"]
        self._path = scope["path"]
        self._params = params
        self._headers = tuple(scope["headers"])
        self._query = scope["query_string"]
        self._remote = (scope.get("client") or NOWHERE)[0]

    def trace(self, current: CurrentTrace) -> None:
        """From now on each request has the trace that is in ``current``."""
        make = self._make_request

        def make_traced(
            head: EndpointHead, request: Request, client: DirectClient
        ) -> EndpointRequest:
            request.trace = current.trace
            return make(head, request, client)

        self._make_request = make_traced

    def begin(self, body: bytes, client: DirectClient) -> EndpointRequest | None:
        handler = self._handler
        request = Request(
            self._method,
            self._path,
            dict(self._params),
            self._headers,
            self._query,
            body,
            client,
            self._remote,
            handler.clock() + handler.timeout,
        )
        direct = self._make_request(self, request, client)
        direct.begin()
        return None if direct.is_over else direct


class StateHead:
    """Requests for health or readiness: no guard and no limit concerns them."""

    __slots__ = ("_added", "_respond")

    reads_body = has_guards = False
    endpoint_path = ""

    def __init__(self, respond: Respond, added: Sequence[AddedHeaders]) -> None:
        self._respond = respond
        self._added = ResponseHeaders(added) if added else None

    def begin(self, body: bytes, client: DirectClient) -> None:
        try:
            client.respond(around(self._added, self._respond()))
        except Exception as error:
            log.error("an error in the application", exc_info=error)
            client.fail()


def find_state_head(
    respond: Respond, scope: Scope, outer_layers: Sequence[Layer]
) -> StateHead | None:
    """As :meth:`DirectEndpoint.find_head`, for health and readiness."""
    added = decided(outer_layers, scope, [], [])
    return None if added is None else StateHead(respond, added)


class EndpointRequest(SentMessages):
    """One request, from its begin until its response has arrived.

    ``is_over``: it has responded, or was withdrawn, or continues in a task.
    """

    __slots__ = ("_client", "_due", "_head", "_withdraw", "is_over")

    def __init__(self, head: EndpointHead, request: Request, client: DirectClient) -> None:
        super().__init__(request, ())
        self.is_over = False
        self._head = head
        self._client = client
        self._withdraw: Withdraw | None = None
        self._due: MutableMapping[Expiring, None] | None = None

    # Called by the head, the pipe, the timers and the server.

    def begin(self) -> None:
        head = self._head
        load = head.load
        if head.layer_guards and not self._is_admitted():
            return
        if load.running >= load.limit:
            load.refused += 1
            self.is_over = True
            self._client.respond(around(head.outer, TOO_MANY_REQUESTS_AT_ONCE))
            return
        load.running += 1
        try:
            self._ask()
        except BaseException as error:
            self._fail(error)

    def arrive(self, part: Part) -> None:
        """The pipe has responded or failed."""
        if self.is_over:  # after an error, although it was not withdrawn
            self.request.give_back()
            return
        self._stop_timer()
        self._withdraw = None  # it refers to us: leave no reference cycle
        if isinstance(part, Response):
            self._respond(part)
        else:
            self._fail(part)

    def expire(self) -> None:
        """The deadline."""
        self._due = None
        withdraw, self._withdraw = self._withdraw, None
        if withdraw is None:
            return
        try:
            part = withdraw() or self._head.endpoint.timed_out(self.request)
        except BaseException as error:
            self._fail(error)
        else:
            self.arrive(part)

    def withdraw(self) -> None:
        """The client has disconnected, or its server has responded in place of the endpoint."""
        if self.is_over:
            return
        self._end()
        self._stop_timer()
        self._head.endpoint.handler.withdrawn(self.request)
        withdraw, self._withdraw = self._withdraw, None
        try:
            if withdraw is not None:
                withdraw()
        except Exception:
            log.exception("%s: an unexpected error in a withdrawal", self.request.path)
        self.request.give_back()

    # The steps of a request.

    def _is_admitted(self) -> bool:
        """Ask the guards of the service. A refusal is sent here."""
        asked = self.request
        unrouted = Request(asked.method, asked.path, {}, asked.headers, remote=asked.remote)
        for guard, added in self._head.layer_guards:
            try:
                guard(unrouted)
            except Refused as refused:
                self.is_over = True
                self._client.respond(added.around(text(refused.status, "", *refused.headers)))
                return False
            except Exception as error:
                self.is_over = True
                log.error("an error in a layer", exc_info=error)
                self._client.fail()
                return False
        return True

    def _ask(self) -> None:
        endpoint, request = self._head.endpoint, self.request
        if endpoint.guards:
            guards = iter(endpoint.guards)
            for guard in guards:
                if (waiting := guard(request)) is not None:
                    self._go_on(guards, waiting)
                    return
        now = endpoint.now
        if now is not None and (response := now(request)) is not None:
            self._respond(response)
            return
        withdraw = endpoint.later(request, self.arrive)
        if not self.is_over:
            self._withdraw = withdraw
            self._due = endpoint.timers.add(self, request.deadline - endpoint.reserve)

    def _respond(self, response: Response) -> None:
        try:
            answer = self._head.endpoint.handler.rendered(response, self.request)
        except BaseException as error:
            self._fail(error)
            return
        if response.stream is not None:
            self._stream(answer, response.stream)
        elif self._is_sent(answer) and response.messages:
            self.messages = response.messages
            self._client.when_arrived(self)
        else:
            self.request.give_back()

    def _fail(self, error: BaseException) -> None:
        request = self.request
        if isinstance(error, KeyboardInterrupt):
            self._end()
            request.give_back()
            raise error
        if self.is_over:
            log.error("%s: an unexpected error", request.path, exc_info=error)
            return
        try:
            answer = self._head.endpoint.handler.failed(error, request)
        except Exception as another:  # of a failure that cannot be rendered
            self._fail_hard(another)
        else:
            self._is_sent(answer)
        request.give_back()

    def _fail_hard(self, error: Exception) -> None:
        """There is no response of the endpoint: its server responds as to any error."""
        log.error("%s: an unexpected error", self.request.path, exc_info=error)
        self.request.park()
        self._end()
        self._client.fail()

    def _is_sent(self, answer: AsgiResponse) -> bool:
        """Respond, and return whether the response could be written. It cannot if a header has a
        line break."""
        self._end()
        try:
            self._client.respond(around(self._head.added, answer))
        except Exception as error:
            self._fail_hard(error)
            return False
        return True

    def _end(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._head.load.running -= 1

    def _stop_timer(self) -> None:
        if self._due is not None:
            self._due.pop(self, None)
            self._due = None

    # In a task from now on.

    def _go_on(self, guards: Iterator[Guard], waiting: Awaitable[None]) -> None:
        """A guard has to wait."""
        handler = self._head.endpoint.handler
        self._run(partial(handler.go_on, self.request, guards, waiting))

    def _stream(self, answer: AsgiResponse, stream: StreamedBody) -> None:
        request = self.request

        async def send_on(scope: Scope, receive: Receive, send: Send) -> None:
            client = build_client(scope, receive)
            request.client = client
            try:
                await send_streamed(send, answer, stream, client)
            except OSError as error:
                log.debug("%s: the client has disconnected: %s", request.path, error)
            finally:
                request.give_back()

        self._run(send_on)

    def _run(self, app: ASGIApp) -> None:
        self.is_over = True
        head = self._head

        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send if head.added is None else head.added.on(send))
            finally:
                head.load.running -= 1

        self._client.run(run)


class ScriptedRequest(EndpointRequest):
    """A request whose scripts have a context of their own, as in a task.

    What a backend sends enters it in :func:`gateway.core.request_context.in_context`.
    """

    __slots__ = ("_context",)

    def __init__(self, head: EndpointHead, request: Request, client: DirectClient) -> None:
        super().__init__(head, request, client)
        self._context = request.context = RequestContext()

    def begin(self) -> None:
        self._context.run(super().begin)

    def expire(self) -> None:
        self._context.run(super().expire)

    def withdraw(self) -> None:
        self._context.run(super().withdraw)
