"""The vocabulary: what a pipe is asked, what it answers, and what its parts are.

Nothing here knows HTTP servers, brokers or event loops.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from .errors import DeadlineExceeded, GatewayError


class Hold(Protocol):
    """A message taken for one request, to be settled exactly once when the request ends.

    The methods never wait, never raise, and do nothing when the hold is settled already.
    """

    def sent(self) -> None:
        """The client has the whole answer: acknowledge."""

    def give_back(self) -> None:
        """The client has not: the message goes back to the front of its buffer."""

    def set_aside(self) -> None:
        """No answer can be made of it: it comes again after a pause, and blocks nobody."""


class Rest(Protocol):
    """What of an answer is still coming. ``length``: of the whole body, empty when not known."""

    @property
    def length(self) -> bytes: ...

    async def next(self) -> bytes:
        """The next piece; b"" when that was all. Raises a GatewayError when it breaks off."""

    def give_back(self) -> None:
        """Nobody reads on. Never waits."""


class Client(Protocol):
    """Whoever asked, as far as a pipe must know."""

    @property
    def is_gone(self) -> bool:
        """Seen while a pipe waited."""
        ...

    def watch(self, gone: Callable[[], object]) -> Callable[[], Coroutine[Any, Any, None]] | None:
        """Call ``gone`` when the client goes away. Asked for only by who has to wait.

        Returns what must run beside for that; None when nothing must.
        """


class Nobody:
    """The client of a request that no connection stands behind (agents, tests)."""

    is_gone = False

    def watch(self, gone: Callable[[], object]) -> None:
        """There is nobody who could leave."""


UNFILTERED, ENDPOINT_LISTS, BACKEND_LISTS = range(3)
"""Which lists of forwarded headers and query strings a request has passed: none yet, those of its
endpoint, those of a backend as well."""


R = TypeVar("R", bound="Request")


class Request:
    """What a pipe is asked.

    ``params``: the endpoint's placeholders, first letter in upper case as KrakenD keeps them
    (``{route}`` is ``Route``). ``headers``: name in lower case and value, in the order of
    arrival. ``query_string``: as it came, without the question mark. ``body``: complete, or
    empty when no branch reads it. ``remote``: the address of whoever connected, "" when unknown.
    ``claims``: of the verified token, None when no token was asked for.
    ``origin``: the message that an agent's request is made of, for whoever knows its kind.
    ``taken``: every message taken for this request, from the moment it left its buffer; at the end
    what is not settled then goes back.
    """

    __slots__ = (
        "body",
        "claims",
        "client",
        "headers",
        "method",
        "origin",
        "params",
        "path",
        "query_string",
        "remote",
        "taken",
    )

    passed = UNFILTERED
    unlisted: Sequence[tuple[bytes, bytes]] = ()

    def __init__(
        self,
        method: str,
        path: str,
        params: dict[str, str],
        headers: Sequence[tuple[bytes, bytes]] = (),
        query_string: bytes = b"",
        body: bytes = b"",
        client: Client | None = None,
        remote: str = "",
    ) -> None:
        self.method = method
        self.path = path
        self.params = params
        self.headers = headers
        self.query_string = query_string
        self.body = body
        self.client = client or Nobody()
        self.remote = remote
        self.claims: dict[str, Any] | None = None
        self.origin: Any = None
        self.taken: list[Hold] = []

    def copy(self) -> Request:
        """Another request of the same client, for a stage that changes something for its branch.

        What is taken for it belongs to this one.
        """
        return self.copy_as(type(self))

    def copy_as(self, kind: type[R]) -> R:
        """A copy of a kind that knows more."""
        copy = kind(
            self.method,
            self.path,
            dict(self.params),
            self.headers,
            self.query_string,
            self.body,
            self.client,
            self.remote,
        )
        copy.claims = self.claims
        copy.origin = self.origin
        copy.taken = self.taken
        return copy

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
        """Give back every message that is not settled yet."""
        for hold in self.taken:
            hold.give_back()


class FilteredRequest(Request):
    """A request that has passed the lists of what is forwarded: what a stage adds goes along.

    ``passed``: which lists. ``unlisted``: the headers that they have not let through.
    """

    __slots__ = ("passed", "unlisted")

    def copy_as(self, kind: type[R]) -> R:
        copy = super().copy_as(kind)
        copy.passed, copy.unlisted = self.passed, self.unlisted
        return copy


class Response:
    """What a branch or a whole pipe answers.

    ``data``: the decoded document; its values may be :class:`msgspec.Raw`, JSON text that
    nobody had to look into. None: there is no document (a publish; incomplete: JSON's null).
    ``is_complete``: every part is here. ``has_failures``: a part failed, the others are the
    answer. ``holds``: the messages this answer is made of. ``headers``: what the client gets
    besides the gateway's own, names in lower case and values. ``body`` counts only for ``no-op``,
    where the answer is passed on as it came. ``rest``: the body, when it is still coming.
    """

    __slots__ = (
        "body",
        "data",
        "has_failures",
        "headers",
        "holds",
        "is_complete",
        "rest",
        "status",
    )

    def __init__(
        self,
        data: dict[str, Any] | None = None,
        is_complete: bool = True,
        holds: Sequence[Hold] = (),
        body: bytes | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
        status: int = 200,
        has_failures: bool = False,
    ) -> None:
        self.data = data
        self.is_complete = is_complete
        self.holds = holds
        self.body = body
        self.headers = headers
        self.status = status
        self.has_failures = has_failures
        self.rest: Rest | None = None

    @property
    def is_whole(self) -> bool:
        """Nothing is known to be missing: to KrakenD a null is a whole document."""
        return self.is_complete or (self.data is None and not self.has_failures)

    def set_aside(self) -> None:
        """Nothing can be made of this answer: what it is made of is to block nobody."""
        for hold in self.holds:
            hold.set_aside()

    def with_data(self, data: dict[str, Any] | None, is_complete: bool) -> Response:
        """This answer with another document."""
        return Response(
            data,
            is_complete,
            self.holds,
            self.body,
            self.headers,
            self.status,
            self.has_failures,
        )


Proxy: TypeAlias = Callable[[Request], Awaitable[Response]]
"""May wait. Raises a :class:`GatewayError` when there is no answer."""

AtOnce: TypeAlias = Callable[[Request], Response | None]
"""Never waits. None: "I would have to", and nothing has happened."""


Part: TypeAlias = Response | GatewayError
"""What one branch answered."""

Arrive: TypeAlias = Callable[[Part], None]
Later: TypeAlias = Callable[[Request, Arrive], Callable[[], GatewayError | None]]
"""Waits without a task: calls ``arrive`` once when there is an answer, perhaps at once. Returns
what withdraws, and says what it means that there was no answer, if there was none; after that
``arrive`` is not called."""


def nothing_to_withdraw() -> None:
    """What :data:`Later` returns when nobody waits: the answer is here, or nobody was asked."""


class Branch(NamedTuple):
    """One backend with its stages. A stage that has no own ``at_once`` or ``later`` drops it.

    ``timed_out`` says what it means that the deadline ended ``proxy``. ``reads_body``: the
    request's body must be complete before the branch is asked. ``may_repeat``: a backend
    that may be asked several times for one request (``concurrent_calls``).
    """

    proxy: Proxy
    at_once: AtOnce | None = None
    later: Later | None = None
    timed_out: Callable[[Request], GatewayError] = lambda request: DeadlineExceeded()
    reads_body: bool = True
    may_repeat: bool = False


Stage: TypeAlias = Callable[[Branch], Branch]
"""Wraps a branch."""

Guard: TypeAlias = Callable[[Request], Awaitable[None] | None]
"""Asked before a request's body is read. Raises :class:`gateway.errors.Refused`; what it returns,
when it has to wait, is awaited."""
