"""The words of the pipe: requests, responses, branches, stages and guards.

Nothing here knows HTTP servers, brokers or event loops.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from copy import copy
from enum import Enum, auto
from typing import Any, Protocol, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ..errors import DeadlineExceeded, GatewayError
from ..telemetry.tracing import Trace
from .bridge import TimedEvent


class OutcomeWatcher(Protocol):
    """Hears what becomes of messages (:class:`gateway.core.outcomes.MessageOutcomes`)."""

    def consumed(self, message_id: str, *, is_redelivered: bool) -> None: ...

    def published(self, message_id: str) -> None: ...

    def settled(self, outcome: str) -> None: ...


class TakenMessage(Protocol):
    """A message that was taken from a queue for one request. It is settled once, at the request's
    end.

    The methods never wait and never raise. They do nothing if the message is settled already.
    ``shown_id``: its message id for lines of the log; empty if it has none.
    """

    @property
    def shown_id(self) -> str: ...

    def sent(self) -> None:
        """The whole response is written; only the client's acknowledgement of the last byte is
        missing. Until the message is settled it does not use up the prefetch. Called at most
        once, before :meth:`acknowledge` or :meth:`give_back`."""

    def acknowledge(self) -> None:
        """The client has received the whole response."""

    def give_back(self) -> None:
        """The client has not received it: the message goes back to the front of its buffer."""

    def park(self) -> None:
        """No response can be made of it: it is tried again after a backoff, and does not block the
        messages that follow it."""

    def watch(self, watcher: OutcomeWatcher) -> None:
        """Tell the watcher of this message, and once what becomes of it. Called at most once, when
        it is taken."""


class Arrival(Protocol):
    """What depends on the arrival of a response. Each method is called at most once, never waits,
    and never raises."""

    def sent(self) -> None:
        """The whole response is written; only the client's acknowledgement is missing."""

    def decided(self, has_arrived: bool) -> None:
        """Whether the client has received the whole response."""


class StreamedBody(Protocol):
    """The body of a response, while it arrives. ``length``: of the whole body, empty if not
    known."""

    @property
    def length(self) -> bytes: ...

    async def next(self) -> bytes:
        """The next piece; b"" after the last one. Raises a GatewayError if the body breaks off."""

    def give_back(self) -> None:
        """No more pieces are read. Never waits."""


Watcher: TypeAlias = Callable[[], Coroutine[object, object, None]]


class Client(Protocol):
    """The client of a request, as far as a pipe has to know it."""

    @property
    def is_gone(self) -> bool:
        """Whether the client has disconnected. Noticed while a pipe waits."""
        ...

    def watch(
        self, gone: Callable[[], object]
    ) -> Callable[[], Coroutine[object, object, None]] | None:
        """Call ``gone`` when the client disconnects. A pipe calls this only if it has to wait.

        Returns a coroutine function that must run in a task meanwhile; None if no task is needed.
        """


class NoClient:
    """The client of a request without a connection: of agents, shadows, tests."""

    is_gone = False

    def watch(self, gone: Callable[[], object]) -> None:
        """There is no client that could disconnect."""


UNFILTERED, ENDPOINT_LISTS, BACKEND_LISTS = range(3)
"""Which lists of forwarded headers and query strings a request has passed: none yet, those of its
endpoint, those of a backend as well."""


NO_DEADLINE = 1e9
"""Seconds, 31 years: later than what any clock of an event loop says."""


class Request(Struct, eq=False):
    """The request that a pipe gets.

    ``params``: the values of the endpoint's placeholders, by their names with the first letter in
    upper case, as in KrakenD (``{route}`` is ``Route``). ``headers``: name in lower case and value,
    in the order of arrival. ``query_string``: unchanged, without the question mark. ``body``:
    complete, or empty if no branch reads it. ``remote``: the address of the peer, "" if unknown.
    ``claims``: of the verified token, None if the endpoint needs no token. ``deadline``: when the
    endpoint's timeout is over, by the clock of :func:`anyio.current_time`. Everything that waits
    for this request waits until then at most. ``origin``: the message from which an agent made the
    request; it has a ``shown_id``, too. ``taken``: every message taken for this request; those that
    are not settled at its end go back. ``passed``: the lists of forwarded headers and query strings
    that were applied; ``unlisted``: the headers that they removed. ``url``: where a script of the
    backend sends the request; None: to the hosts of the backend. ``context``: of a request without
    a task whose stages run scripts: a :class:`gateway.core.request_context.RequestContext`.
    ``trace``: the current span, and the trace context for backends; None: there is none.
    """

    method: str
    path: str
    params: dict[str, str]
    headers: Sequence[tuple[bytes, bytes]] = ()
    query_string: bytes = b""
    body: bytes = b""
    client: Client = NoClient()
    remote: str = ""
    deadline: float = NO_DEADLINE
    claims: dict[str, Any] | None = None
    origin: Any = None
    taken: list[TakenMessage] = []
    passed: int = UNFILTERED
    unlisted: Sequence[tuple[bytes, bytes]] = ()
    url: str | None = None
    context: Any = None
    trace: Trace | None = None

    def copy(self) -> Request:
        """A copy for a stage that changes the request for its branch only. Both have one list of
        taken messages."""
        copied = copy(self)
        copied.params = dict(self.params)
        return copied

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, listed or not; ``name`` in lower case."""
        for each, value in self.headers:
            if each == name:
                return value
        for each, value in self.unlisted:
            if each == name:
                return value
        return None

    def give_back(self) -> None:
        """Give back every message that is not settled yet. Another request may have them then."""
        for message in self.taken:
            message.give_back()
        self.taken.clear()

    def park(self) -> None:
        """Park every message that is not settled yet: no response can be made of them. Another
        request may have them then."""
        for message in self.taken:
            message.park()
        self.taken.clear()


class Completeness(Enum):
    """Whether a response has everything that the endpoint promises."""

    COMPLETE = auto()
    INCOMPLETE = auto()
    """No backend failed, and the document is not all: JSON's null, or a script says so."""
    PARTS_FAILED = auto()
    """Some backends failed. The response is made of the others."""
    DECLARED_COMPLETE = auto()
    """Some backends failed, and a hook or a script declares the response complete: the client
    gets ``X-Krakend-Completed: true``. For an agent the message has failed all the same."""

    def declared(self, is_complete: bool) -> Completeness:
        """What becomes of it when a hook or a script says whether the response is complete."""
        if self in WITH_FAILURES:
            return Completeness.DECLARED_COMPLETE if is_complete else Completeness.PARTS_FAILED
        return Completeness.COMPLETE if is_complete else Completeness.INCOMPLETE


COMPLETE, INCOMPLETE = Completeness.COMPLETE, Completeness.INCOMPLETE
PARTS_FAILED, DECLARED_COMPLETE = Completeness.PARTS_FAILED, Completeness.DECLARED_COMPLETE
SHOWN_AS_COMPLETE = (COMPLETE, DECLARED_COMPLETE)
WITH_FAILURES = (PARTS_FAILED, DECLARED_COMPLETE)
# Names of the module, since a member of an enum is slow to look up in its class.


class Response(Struct, eq=False):
    """The response of a branch or of a whole pipe.

    ``data``: the decoded document; its values may be :class:`msgspec.Raw`, JSON text that
    was not decoded. None: there is no document (a publish; incomplete: JSON's null).
    ``messages``: the messages from which the response is made. ``headers``: what the client gets
    in addition to the gateway's own headers, names in lower case. ``body``: only for ``no-op``,
    where the backend's response is passed on unchanged. ``stream``: the body, while it arrives.
    ``encoded``: the document in the output encoding, if a helper process has written it.
    """

    data: dict[str, Any] | None = None
    completeness: Completeness = COMPLETE
    messages: Sequence[TakenMessage] = ()
    body: bytes | None = None
    headers: Sequence[tuple[bytes, bytes]] = ()
    status: int = 200
    stream: StreamedBody | None = None
    encoded: bytes | None = None

    @property
    def is_complete(self) -> bool:
        """What the client gets in ``X-Krakend-Completed``."""
        return self.completeness in SHOWN_AS_COMPLETE

    @property
    def has_failures(self) -> bool:
        return self.completeness in WITH_FAILURES

    @property
    def is_whole(self) -> bool:
        """Nothing is known to be missing: to KrakenD a null is a whole document."""
        return self.is_complete or (self.data is None and not self.has_failures)

    def park(self) -> None:
        """Park its messages: this response cannot be used."""
        for message in self.messages:
            message.park()

    def with_data(
        self, data: dict[str, Any] | None, completeness: Completeness | None = None
    ) -> Response:
        """This response with another document. ``completeness`` None: as complete as it was."""
        return replace(self, data=data, completeness=completeness or self.completeness)


Part: TypeAlias = Response | GatewayError
"""The response of one branch, or its failure."""

Now: TypeAlias = Callable[[Request], Response | None]
"""Responds at once, and never waits: a consumer whose buffer has a message. None: it would have to
wait, and nothing has happened. Raises a :class:`GatewayError` if there is no response."""

Arrive: TypeAlias = Callable[[Part], None]
"""Called once, with the part of a branch."""
Withdraw: TypeAlias = Callable[[], Part | None]
"""Ends the wait of a branch, as :data:`Later` says."""
Later: TypeAlias = Callable[[Request, Arrive], Withdraw]
"""Waits without a task: calls ``arrive`` once, perhaps before it returns. It returns a function
that withdraws the request: after that ``arrive`` is not called any more. That function returns what
the withdrawal means: a failure, or of several branches the response made of the parts that are
there. It returns None if ``arrive`` was called before, or if the request was withdrawn before. It
may return None if the client has disconnected, because the part would reach no client. So a caller
that gets None, and has no part, needs a failure of its own, such as ``timed_out`` of the branch."""

Ask: TypeAlias = Callable[[Request], Awaitable[Response]]
"""A coroutine function. Raises a :class:`GatewayError` if there is no response."""


def nothing_to_withdraw() -> None:
    """What :data:`Later` returns if it has called ``arrive`` already."""


NewEvent: TypeAlias = Callable[[], TimedEvent]
"""Makes an event for one wait, as :meth:`gateway.core.bridge.AsyncioSide.new_event`."""


class Pipe(Struct, frozen=True, eq=False):
    """Everything behind one endpoint, or a part of it, and how it can be asked.

    It has one of ``ask`` and ``later``, and perhaps ``now``, which is tried first.
    :func:`gateway.core.pipe.coroutine_of` makes a coroutine function of any of them.

    ``timed_out``: the failure that it means when the deadline ends the wait. ``reads_body``: the
    request's body must be complete before the pipe is asked.

    ``later`` knows no deadline. Its caller withdraws the request ``reserve`` seconds before the
    request's deadline, and when the client disconnects. ``new_event``: for a caller that waits in a
    coroutine. None: of a branch, whose pipe withdraws it.
    """

    ask: Ask | None = None
    now: Now | None = None
    later: Later | None = None
    timed_out: Callable[[Request], GatewayError] = lambda request: DeadlineExceeded()
    reads_body: bool = True
    reserve: float = 0.0
    new_event: NewEvent | None = None


class Branch(Pipe, frozen=True, eq=False):
    """One backend with its stages.

    ``may_repeat``: a backend that may be asked several times for one request
    (``concurrent_calls``). ``url``: where a request goes, without credentials; "" if that is no
    URL of HTTP. ``name``: as ``backend[1]``, where there are several.
    """

    may_repeat: bool = False
    url: Callable[[Request], str] = lambda request: ""
    name: str = ""


P = TypeVar("P", bound=Pipe)


class Stage(Protocol):
    """Wraps a branch, or the pipe of an endpoint."""

    def __call__(self, pipe: P, /) -> P: ...


Guard: TypeAlias = Callable[[Request], Awaitable[None] | None]
"""Called before a request's body is read. Raises :class:`gateway.errors.Refused`. If it has to
wait, it returns an awaitable, which the router awaits."""


class HeaderGuard:
    """A guard that adds ``headers`` to the responses to admitted requests."""

    __slots__ = ("_guard", "headers")

    def __init__(
        self, guard: Guard, headers: Callable[[Request], Sequence[tuple[bytes, bytes]]]
    ) -> None:
        self._guard = guard
        self.headers = headers

    def __call__(self, request: Request) -> Awaitable[None] | None:
        return self._guard(request)
