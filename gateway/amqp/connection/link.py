"""One supervised connection per broker and role: the only thing that retries.

Three lifetimes, three blocks: the link as long as the gateway, a connection as long as the
broker lets it, a user's channel inside. All of it runs on the asyncio side.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar, cast

import aiormq
from aiormq.channel import Channel
from aiormq.exceptions import AMQPError, ChannelNotFoundEntity, ConnectionClosed
from anyio import CancelScope, fail_after, move_on_after, sleep

from ...core.backoff import BACKOFFS, constant
from ...core.bridge import AsyncioSide
from ...core.tasks import open_tasks
from ...errors import GatewayError
from ...telemetry.logs import get_logger
from ..wire import codec
from .tap import Tap, TapFactory
from .urls import BrokerUrl

T = TypeVar("T")
log = get_logger("gateway.amqp")

CLOSE_TIMEOUT = 2.0
"""Seconds for the goodbyes of AMQP; after it the socket is closed without."""

RESPONSE_TIMEOUT = 10.0
"""Seconds for an answer on a channel that has unsettled messages."""

AWAITED_RETRY_INTERVAL = 0.25
"""Seconds between attempts while a request is waiting: at most four a second."""

DEFAULT_FRAME_MAX = 131_072
"""Bytes of a frame that we send where the broker sets no bound (0)."""

MAX_CHANNELS = 65_535
"""Channel numbers are 16 bits wide."""

CLOSED = "the connection was closed"

RECONNECT_RESET_AFTER = 1.0
"""A connection that lived shorter than this many seconds does not start the backoff anew."""

FASTEST_BACKOFF_FIRST = ("fallback", "linear", "linear-jitter", "exponential", "exponential-jitter")


class LinkError(GatewayError):
    """What a broker refused, or that it went away. Its text carries no credentials."""


class NotFoundError(LinkError):
    """The broker knows no such queue or exchange (404)."""


class ConnectionGoneError(LinkError):
    """The whole connection ended while an answer was awaited; the reason may follow."""


class BrokerConnection:
    """An open connection with its tap. ``url``: where it leads, of several hosts."""

    def __init__(self, aiormq_connection: aiormq.Connection, tap: Tap, url: BrokerUrl) -> None:
        self._connection = aiormq_connection
        self.url = url
        self.tap = tap
        tune = aiormq_connection.connection_tune
        self.frame_max = tune.frame_max or DEFAULT_FRAME_MAX
        bounds = (tune.channel_max, url.channel_max, MAX_CHANNELS)
        self._channel_max = min(bound for bound in bounds if bound)
        self._last_channel = 0
        tap.receiver.frame_max = tune.frame_max or codec.MAX_FRAME

    @asynccontextmanager
    async def channel(self) -> AsyncGenerator[Channel]:
        """A channel without confirms; closed at the end when the connection still stands.

        Raises :class:`LinkError`; also where the broker allows no further channel, which would
        close the connection.
        """
        opening = self._connection.channel(self._free_channel(), publisher_confirms=False)
        channel = await call(opening)
        assert isinstance(channel, Channel)
        try:
            yield channel
        finally:
            if not channel.is_closed and not self.tap.lost.is_set():
                with move_on_after(CLOSE_TIMEOUT, shield=True):
                    await call_ignoring_errors(
                        channel.close(ConnectionClosed(200, "channel closed"))
                    )
            # aiormq may have given the number of a closed channel to another one meanwhile.
            if self._connection.channels.get(channel.number) in (None, channel):
                self.tap.receiver.release(channel.number)

    def _free_channel(self) -> int:
        """The next number: aiormq frees one that the broker has closed before it has said
        Close-Ok, and the broker would close the connection of a client that uses it again."""
        for _ in range(self._channel_max):
            self._last_channel = self._last_channel % self._channel_max + 1
            if self._last_channel not in self._connection.channels:
                return self._last_channel
        raise LinkError(
            f"the broker allows {self._channel_max} channels on a connection (channel_max), "
            "and all are in use"
        )

    async def wait_lost(self) -> str:
        """Wait until the connection is over; say why."""
        closing = self._connection.closing
        closing.add_done_callback(lambda _: self.tap.lost.set())
        await self.tap.lost.wait()
        # The broker's reason, when it gave one, is processed just behind the last bytes.
        with move_on_after(CLOSE_TIMEOUT):
            await asyncio.wait([closing])
        return self.tap.problem or reason(closing) or "the connection was lost"


class LinkUser(Protocol):
    """Something that lives on a link's connection: a subscription, a publisher."""

    declares: bool
    """It is declaring right now: an error that ends the connection may be its fault."""

    @property
    def is_awaited(self) -> bool:
        """A request is waiting for it."""
        ...

    async def live(self, connection: BrokerConnection) -> None:
        """Do your work until the connection is over, then you are cancelled."""

    def suspect(self, link: Link, problem: str) -> None:
        """The connection ended while you were declaring."""

    def detached(self, problem: str) -> None:
        """There is no connection."""

    def readiness(self) -> dict[str, Any]: ...


N = TypeVar("N", bound=LinkUser)


class Link:
    """The connection of one role to one broker; several ``urls`` are tried in their order.

    It is kept from the start, not on request, and repaired at once when it breaks. Between
    attempts it pauses as ``backoff_strategy`` says, shorter while a request is waiting. After
    ``max_retries`` attempts (0: never) it rests until the next request asks.
    """

    def __init__(self, urls: tuple[BrokerUrl, ...], role: str, side: AsyncioSide) -> None:
        self.urls = urls
        self.role = role
        self._users: dict[Hashable, LinkUser] = {}
        self.is_connected = False
        self.is_idle = False
        self.problem = "not connected yet"
        self._side = side
        self._problems: dict[BrokerUrl, str] = {}
        self._strategies: set[str] = set()
        self._attempts: set[int] = set()
        self._retry_requested = asyncio.Event()

    def shared(self, key: Hashable, make: Callable[[], N]) -> N:
        """The one user of that key, made on first use."""
        if key not in self._users:
            self._users[key] = make()
        return cast(N, self._users[key])

    def share_retries(self, backoff_strategy: str, max_retries: int) -> None:
        """Of several users of a link the quickest and the most patient count."""
        self._strategies.add(backoff_strategy if backoff_strategy in BACKOFFS else "fallback")
        self._attempts.add(max(max_retries, 0))

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Keep the connection while the block runs."""
        async with open_tasks() as service:
            service.start_soon(self._side.run, self._keep_connected)
            yield
            service.cancel_scope.cancel()

    def retry_soon(self) -> None:
        """A request has begun to wait: do not pause longer than needed."""
        self._retry_requested.set()

    def readiness(self) -> dict[str, Any]:
        channels = [user.readiness() for user in self._users.values()]
        return {
            "ready": self.is_connected and all(each["ready"] for each in channels),
            "broker": self.urls[0].name,
            "role": self.role,
            "connected": self.is_connected,
            "problem": self.problem,
            "channels": channels,
        }

    def pauses(self) -> Iterator[float]:
        """A fresh row of pauses between attempts."""
        for name in FASTEST_BACKOFF_FIRST:
            if name in self._strategies:
                return BACKOFFS[name]()
        return constant()

    async def pause(self, seconds: float) -> None:
        """Wait; not longer than :data:`QUICKEST_REPAIR` once a request is waiting."""
        self._retry_requested = asyncio.Event()
        await sleep(min(seconds, AWAITED_RETRY_INTERVAL))
        if seconds > AWAITED_RETRY_INTERVAL and not any(
            user.is_awaited for user in self._users.values()
        ):
            with move_on_after(seconds - AWAITED_RETRY_INTERVAL):
                await self._retry_requested.wait()

    async def _rest(self) -> None:
        self._retry_requested = asyncio.Event()
        self.is_idle = True
        await self._retry_requested.wait()
        self.is_idle = False

    async def _keep_connected(self) -> None:
        pauses, attempts = self.pauses(), 0
        while True:
            connected_at = await self._connect_and_serve()
            loop_time = asyncio.get_running_loop().time()
            if connected_at is not None and loop_time - connected_at >= RECONNECT_RESET_AFTER:
                pauses, attempts = self.pauses(), 0
                continue
            attempts += 1
            if 0 not in self._attempts and self._attempts and attempts >= max(self._attempts):
                log.error("%s: gave up after %d attempts", self.urls[0], attempts)
                await self._rest()
                pauses, attempts = self.pauses(), 0
            else:
                await self.pause(next(pauses))

    async def _connect_and_serve(self) -> float | None:
        """One try over all hosts. The loop time of the connection; None when there was none."""
        for url in self.urls:
            connected_at = None
            try:
                async with open_connection(url) as connection:
                    connected_at = asyncio.get_running_loop().time()
                    self.is_connected, self.problem = True, ""
                    self._problems.clear()
                    log.info("%s: connected (%s)", url, self.role)
                    await self._serve(connection, url)
            except LinkError as error:
                self._disconnected(url, str(error))
            except Exception as error:  # whatever it is, the other links go on
                log.exception("%s: unexpected error, tried again (%s)", url, self.role)
                self._disconnected(url, f"unexpected error: {type(error).__name__}")
            finally:
                self.is_connected = False
            if connected_at is not None:
                return connected_at
        return None

    async def _serve(self, connection: BrokerConnection, url: BrokerUrl) -> None:
        problem = CLOSED  # a future that aiormq cancels ends this group without a word
        async with open_tasks() as users:
            for user in self._users.values():
                users.start_soon(user.live, connection)
            users.start_soon(_abort_when_silent, connection.tap, url.heartbeat)
            problem = await connection.wait_lost()
            self.is_connected = False
            for user in self._users.values():
                if user.declares:
                    user.suspect(self, problem)
            users.cancel_scope.cancel()
        raise LinkError(problem)

    def _disconnected(self, url: BrokerUrl, problem: str) -> None:
        if problem != self._problems.get(url):
            log.warning("%s: %s (%s)", url, problem, self.role)
        self.problem = self._problems[url] = problem
        for user in self._users.values():
            user.detached(problem)


@asynccontextmanager
async def open_connection(url: BrokerUrl) -> AsyncGenerator[BrokerConnection]:
    """Connect, log in, open the virtual host. Raises :class:`LinkError`."""
    factory = TapFactory(url.server_name)
    connection = aiormq.Connection(url.aiormq, transport_factory=factory)
    connection.vhost = url.vhost
    try:
        with fail_after(url.connect_timeout):
            await call(connection.connect())
    except TimeoutError as error:
        factory.abort()
        raise LinkError(f"no answer within {url.connect_timeout:g} s") from error
    except LinkError as error:
        factory.abort()
        raise LinkError(factory.problem or str(error)) from error
    assert factory.tap is not None
    opened = BrokerConnection(connection, factory.tap, url)
    try:
        yield opened
    except ConnectionGoneError as error:
        raise LinkError(await opened.wait_lost()) from error
    finally:
        with CancelScope(shield=True):
            with move_on_after(CLOSE_TIMEOUT):
                await call_ignoring_errors(connection.close(ConnectionClosed(200, "link closed")))
            factory.tap.abort()


async def call(awaitable: Awaitable[T]) -> T:
    """aiormq's answer, or what it raises as :class:`LinkError`.

    When a connection is closed aiormq cancels who waits for an answer; that is not a
    cancellation of the task that waits, and must not look like one.
    """
    try:
        return await awaitable
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ConnectionGoneError(CLOSED) from None
    except LinkError:
        raise
    except ChannelNotFoundEntity as error:
        raise NotFoundError(describe(error)) from error
    except (AMQPError, OSError, RuntimeError, EOFError) as error:
        raise LinkError(describe(error)) from error
    except Exception as error:  # what a codec raises for bytes that it does not expect
        log.debug("unexpected error of the AMQP library", exc_info=True)
        raise LinkError(f"the AMQP library failed: {type(error).__name__}: {error}") from error


async def call_uninterrupted(awaitable: Awaitable[T]) -> T:
    """As :func:`call`, but a cancellation waits for the answer, :data:`ANSWER_TIME` at most.

    aiormq closes the channel of a call that is cancelled: what was settled on it meanwhile, and
    is not written yet, would be delivered again.
    """
    try:
        with fail_after(RESPONSE_TIMEOUT, shield=True):
            return await call(awaitable)
    except TimeoutError as error:
        raise LinkError(f"no answer within {RESPONSE_TIMEOUT:g} s") from error


def describe(error: BaseException) -> str:
    """The broker's words, or the library's; never a URL, nor a number without a word."""
    texts = [arg for arg in error.args if isinstance(arg, str) and arg]
    return ", ".join(texts) or type(error).__name__


def reason(closing: asyncio.Future[Any]) -> str:
    """Why a connection or a channel of aiormq closed; empty when it is not known."""
    if not closing.done() or closing.cancelled():
        return ""
    error = closing.exception()
    return "" if error is None else describe(error)


async def call_ignoring_errors(awaitable: Awaitable[object]) -> None:
    """For goodbyes: whether they arrive does not matter any more."""
    try:
        await call(awaitable)
    except LinkError as error:
        log.debug("while closing: %s", error)


async def _abort_when_silent(tap: Tap, heartbeat: int) -> None:
    """The broker sends something at least every half heartbeat; aiormq waits for three."""
    if heartbeat == 0:
        return
    loop = asyncio.get_running_loop()
    while (silence := loop.time() - tap.last_received) < 2 * heartbeat:
        await sleep(2 * heartbeat - silence)
    tap.abort()
