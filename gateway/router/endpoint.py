"""One request to one endpoint, from its ASGI scope until its messages are settled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from ..config.structs import Endpoint, GatewaySettings
from ..core.asgi import AsgiResponse, Receive, Scope, Send, send_answer
from ..core.counted import CountResponse
from ..core.failures import FailureLog, NoteFailure, ignore_failure, name_of
from ..core.observed import CLIENT_GONE, OBSERVATION, STOPPED, note_request
from ..core.pipe import coroutine_of
from ..core.proxy import Guard, Pipe, Request, Response, TakenMessage
from ..core.tasks import must_pass
from ..core.traced import TRACE
from ..errors import GatewayError
from ..telemetry.logs import get_logger
from .render import ErrorRenderer, Renderer
from .request import (
    AsgiClient,
    BodyError,
    ClientConnection,
    build_client,
    read_body,
    refuse_body,
)
from .streaming import send_streamed
from .waiting import wait_admitted

log = get_logger("gateway.router")

NO_RESPONSE = Response()
NOWHERE = ("", 0)


class Route(NamedTuple):
    """An endpoint of the configuration, with its guards and its pipe.

    ``is_bare``: its responses are JSON without the gateway's own headers. ``runs_scripts``: its
    stages or guards run code of the operator, such as hooks and Lua. ``note_failure``: gets each
    failed request. ``count_response``: counts its responses; None: nothing does.
    """

    method: str
    endpoint: Endpoint
    pipe: Pipe
    guards: Sequence[Guard] = ()
    is_bare: bool = False
    runs_scripts: bool = False
    note_failure: NoteFailure = ignore_failure
    count_response: CountResponse | None = None


class EndpointHandler:
    """Handles the requests of one endpoint.

    ``clock``: of deadlines. ``handle``: the handler for ASGI. :mod:`.direct` handles requests that
    need no task, in the same way.

    Every message of the request is settled: at the end of the handler, or, if a response was sent,
    when it has arrived or the connection has ended. Messages are acknowledged when their response
    has arrived. In every other case they go back to the front of their buffer; or they are parked,
    if no response can be made of them (rendering fails, or an unexpected error is raised), because
    the next request would fail as well.

    Some messages are settled before, and this class does not touch them again: a consumer with
    ``auto_ack`` acknowledges, a consumer parks or rejects what it cannot decode, and stages park
    the messages of a response that they refuse. Messages of agents and shadows never come here.
    """

    def __init__(
        self,
        route: Route,
        render: Renderer,
        render_error: ErrorRenderer,
        settings: GatewaySettings,
        clock: Callable[[], float],
    ) -> None:
        self.pipe = route.pipe
        self.guards = route.guards
        self.timeout = route.endpoint.timeout
        self.clock = clock
        self._ask = coroutine_of(route.pipe)
        self.path = route.endpoint.endpoint
        self._body_limit = settings.max_body_bytes
        self._body_time = settings.body_timeout
        self._render = render
        self._render_error = render_error
        self._failures = FailureLog(
            name_of(route.endpoint), has_ids=settings.request_id, note=route.note_failure
        )

    async def handle(
        self, scope: Scope, receive: Receive, send: Send, params: dict[str, str]
    ) -> None:
        request = Request(
            scope["method"],
            scope["path"],
            params,
            scope["headers"],
            scope["query_string"],
            remote=(scope.get("client") or NOWHERE)[0],
            deadline=self.clock() + self.timeout,
        )
        await self.go_on(request, iter(self.guards), None, scope, receive, send)

    async def go_on(
        self,
        request: Request,
        guards: Iterator[Guard],
        waiting: Awaitable[None] | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Handle a request that the ``guards`` have not admitted yet, for the client of the scope.
        ``waiting``: what the guard before them has returned."""
        client = build_client(scope, receive)
        request.client = client
        is_settled = False
        try:
            try:
                if waiting is not None:
                    receive = await wait_admitted(waiting, client, receive, request.deadline)
                for guard in guards:
                    if (waiting := guard(request)) is not None:
                        receive = await wait_admitted(waiting, client, receive, request.deadline)
                if self.pipe.reads_body:
                    request.body = await self._body(request, client, scope, receive)
                response = await self._ask(request)
                answer = self.rendered(response, request)
            except BodyError as error:
                self.body_refused(error, request)
                await refuse_body(scope, send, error)
                return
            except BaseException as error:
                if must_pass(error):
                    raise
                response = NO_RESPONSE
                answer = self.failed(error, request)
            if client.is_gone:
                log.debug("%s: the client has disconnected", self.path)
                return
            if response.stream is not None:
                await send_streamed(send, answer, response.stream, client)
                return
            await send_answer(send, answer)
            if response.messages:
                sent = SentMessages(request, response.messages)
                arriving = client.when_arrived(sent)
                is_settled = arriving is None  # another request may have the messages from now on
                if arriving is not None:
                    sent.decided(await arriving)
        except OSError as error:  # ASGI servers raise it if the client has disconnected
            log.debug("%s: the client has disconnected: %s", self.path, error)
        except Exception:
            request.park()
            raise
        finally:
            if not is_settled:
                request.give_back()

    async def _body(
        self,
        request: Request,
        client: ClientConnection | AsgiClient,
        scope: Scope,
        receive: Receive,
    ) -> bytes:
        body = client.body_nowait()
        if body is None:
            left = request.deadline - self.clock()
            body = await read_body(scope, receive, self._body_limit, self._body_time)
            # body_timeout bounds the time of the client, the timeout that of the work.
            request.deadline = self.clock() + left
        return body

    def body_refused(self, error: BodyError, request: Request) -> None:
        self._failures.record(GatewayError(), request, error.status)

    def withdrawn(self, request: Request) -> None:
        """A request without a task has ended without a response of the endpoint."""

    def rendered(self, response: Response, request: Request) -> AsgiResponse:
        """The response for the client. May raise anything: then its messages are parked."""
        try:
            return self._render(response, request)
        except BaseException:
            response.park()
            raise

    def failed(self, error: BaseException, request: Request) -> AsgiResponse:
        """The response for a failure. An unexpected error is logged, and fails this request only:
        its messages are parked."""
        if isinstance(error, GatewayError):
            error.__traceback__ = None  # its frames refer to it: no reference cycle is left
            answer = self._render_error(error)
            if not request.client.is_gone:
                self._failures.record(error, request, answer.status)
            return answer
        shown, own = self._failures.ids_of(request)
        request.park()
        extra = {"fields": {"endpoint": self.path, **own}}
        log.error("%s: an unexpected error%s", self.path, shown, exc_info=error, extra=extra)
        answer = self._render_error(GatewayError("internal error"))
        self._failures.note_unexpected(request, answer.status)
        return answer


Prepare: TypeAlias = Callable[[Request, Scope, str], object]
"""A request, its scope, and the path of its endpoint as in the configuration."""


def give_trace(request: Request, scope: Scope, path: str) -> None:
    """A :data:`Prepare`: the request gets the trace that is in its scope."""
    if request.trace is None and TRACE in scope:
        request.trace = scope[TRACE].begin(path)


def note_for_observers(request: Request, scope: Scope, path: str) -> None:
    """A :data:`Prepare`."""
    observation = scope.get(OBSERVATION)
    if observation is not None:  # otherwise it was noted when it began without a task
        note_request(observation, request)


class PreparingHandler(EndpointHandler):
    """``prepare``: called for each request with a task, after its guards that do not wait."""

    prepare: Sequence[Prepare] = ()

    async def go_on(
        self,
        request: Request,
        guards: Iterator[Guard],
        waiting: Awaitable[None] | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        for prepare in self.prepare:
            prepare(request, scope, self.path)
        await super().go_on(request, guards, waiting, scope, receive, send)


class CountingHandler(PreparingHandler):
    """Counts the responses of an endpoint: one look at the clock for each. When a request has begun
    is known from its deadline."""

    count: CountResponse

    def rendered(self, response: Response, request: Request) -> AsgiResponse:
        answer = super().rendered(response, request)
        self.count(answer.status, self.clock() - request.deadline + self.timeout)
        return answer

    def failed(self, error: BaseException, request: Request) -> AsgiResponse:
        answer = super().failed(error, request)
        self._count_failed(answer.status, request)
        return answer

    def body_refused(self, error: BodyError, request: Request) -> None:
        super().body_refused(error, request)
        self._count_failed(error.status, request)

    def withdrawn(self, request: Request) -> None:
        self._count_failed(STOPPED, request)

    def _count_failed(self, status: int, request: Request) -> None:
        status = CLIENT_GONE if request.client.is_gone else status
        self.count(status, self.clock() - request.deadline + self.timeout)


class SentMessages:
    """The messages of a response that is on its way (:class:`gateway.core.proxy.Arrival`)."""

    __slots__ = ("messages", "request")

    def __init__(self, request: Request, messages: Sequence[TakenMessage]) -> None:
        self.request = request
        self.messages = messages

    def sent(self) -> None:
        for message in self.messages:
            message.sent()

    def decided(self, has_arrived: bool) -> None:
        if has_arrived:
            for message in self.messages:
                message.acknowledge()
        self.request.give_back()
