"""One request to one endpoint, from its ASGI scope until its messages are settled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec import Struct

from ..config.structs import Endpoint, GatewaySettings
from ..core.asgi import Handler, Receive, Scope, Send, send_answer
from ..core.failures import FailureLog, name_of
from ..core.pipe import coroutine_of
from ..core.proxy import Guard, Pipe, Request, Response, TakenMessage
from ..core.tasks import must_pass
from ..errors import GatewayError
from ..telemetry.logs import get_logger
from .render import ErrorRenderer, Renderer
from .request import BodyError, build_client, read_body, refuse_body
from .streaming import send_streamed
from .waiting import wait_admitted

log = get_logger("gateway.router")

NO_RESPONSE = Response()
NOWHERE = ("", 0)


class Route(NamedTuple):
    """An endpoint of the configuration, with its guards and its pipe.

    ``is_bare``: its responses are JSON without the gateway's own headers.
    """

    method: str
    endpoint: Endpoint
    pipe: Pipe
    guards: Sequence[Guard] = ()
    is_bare: bool = False


def build_handler(
    route: Route,
    render: Renderer,
    render_error: ErrorRenderer,
    settings: GatewaySettings,
    clock: Callable[[], float],
) -> Handler:
    """The handler of one endpoint. ``clock``: of deadlines.

    Every message of the request is settled: at the end of the handler, or, if a response was sent,
    when it has arrived or the connection has ended. Messages are acknowledged when their response
    has arrived. In every other case they go back to the front of their buffer; or they are parked,
    if no response can be made of them (rendering fails, or an unexpected error is raised), because
    the next request would fail as well.

    Some messages are settled before, and this function does not touch them again: a consumer with
    ``auto_ack`` acknowledges, a consumer parks or rejects what it cannot decode, and stages park
    the messages of a response that they refuse. Messages of agents and shadows never come here.
    """
    ask, reads_body = coroutine_of(route.pipe), route.pipe.reads_body
    path, guards = route.endpoint.endpoint, route.guards
    timeout = route.endpoint.timeout
    body_limit, body_time = settings.max_body_bytes, settings.body_timeout
    failures = FailureLog(name_of(route.endpoint))

    async def handle(scope: Scope, receive: Receive, send: Send, params: dict[str, str]) -> None:
        client = build_client(scope, receive)
        request = Request(
            scope["method"],
            scope["path"],
            params,
            scope["headers"],
            scope["query_string"],
            b"",
            client,
            (scope.get("client") or NOWHERE)[0],
            clock() + timeout,
        )
        is_settled = False
        try:
            try:
                for guard in guards:
                    if (waiting := guard(request)) is not None:
                        receive = await wait_admitted(waiting, client, receive, request.deadline)
                if reads_body:
                    body = client.body_nowait()
                    if body is None:
                        left = request.deadline - clock()
                        body = await read_body(scope, receive, body_limit, body_time)
                        # body_timeout bounds the time of the client, the timeout that of the work.
                        request.deadline = clock() + left
                    request.body = body
                response = await ask(request)
                try:
                    answer = render(response, request)
                except BaseException:
                    response.park()
                    raise
            except BodyError as error:
                failures.record(GatewayError(), error.status)
                await refuse_body(scope, send, error)
                return
            except BaseException as error:
                if must_pass(error):
                    raise
                if not isinstance(error, GatewayError):
                    request.park()
                response = NO_RESPONSE
                failure = _expected(error, path)
                answer = render_error(failure)
                if failure is error and not client.is_gone:
                    failures.record(failure, answer.status)
            if client.is_gone:
                log.debug("%s: the client has disconnected", path)
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
            log.debug("%s: the client has disconnected: %s", path, error)
        except Exception:
            request.park()
            raise
        finally:
            if not is_settled:
                request.give_back()

    return handle


class SentMessages(Struct, eq=False):
    """The messages of a response that is on its way (:class:`gateway.core.proxy.Arrival`)."""

    request: Request
    messages: Sequence[TakenMessage]

    def sent(self) -> None:
        for message in self.messages:
            message.sent()

    def decided(self, has_arrived: bool) -> None:
        if has_arrived:
            for message in self.messages:
                message.acknowledge()
        self.request.give_back()


def _expected(error: BaseException, path: str) -> GatewayError:
    """The failure that the client gets. An unexpected error is logged, and fails this request
    only."""
    if isinstance(error, GatewayError):
        error.__traceback__ = None  # its frames refer to it: no reference cycle is left
        return error
    log.error("%s: an unexpected error", path, exc_info=error)
    return GatewayError("internal error")
