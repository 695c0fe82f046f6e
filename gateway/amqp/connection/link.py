"""A link: one connection to a broker for one role (consume or publish), repaired when it breaks.

Only this module connects again after a failure. Three lifetimes are three nested blocks: the link
lives as long as the gateway, a connection until it breaks, and the channel of a subscription or a
publisher within a connection. All of it runs on the asyncio side.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeVar, cast

import aiormq
from aiormq.channel import Channel
from aiormq.exceptions import AMQPError, ChannelNotFoundEntity, ConnectionClosed
from anyio import CancelScope, fail_after, move_on_after, sleep
from anyio.abc import TaskGroup

from ...core.backoff import BACKOFFS, constant
from ...core.bridge import AsyncioSide, Connect
from ...core.tasks import open_tasks
from ...errors import GatewayError
from ...telemetry.logs import get_logger
from ...telemetry.metrics import Reading
from ...telemetry.parts import LinkPart, MessageCounts, StatePart
from ..wire import codec
from .attempts import Attempts
from .concerned import Concerned
from .tap import Tap, TapFactory
from .urls import BrokerUrl

T = TypeVar("T")
log = get_logger("gateway.amqp")

CLOSE_TIMEOUT = 2.0
"""Seconds to close a channel or a connection by AMQP. Then the socket is closed."""

RESPONSE_TIMEOUT = 10.0
"""Seconds to wait for the response to a method on a channel that has unsettled messages."""

AWAITED_RETRY_INTERVAL = 0.25
"""Seconds between attempts to connect while a request is waiting."""

DEFAULT_FRAME_MAX = 131_072
"""Bytes of the largest frame that is sent when the broker sets no bound (0)."""

MAX_CHANNELS = 65_535
"""Channel numbers are 16 bits wide."""

CLOSED = "the connection was closed"
BLOCKED = "the broker accepts no messages: an alarm, of its memory or its disk"

HOST_HEAD_START = 0.4
"""Seconds that a host has to open the connection until the next one is tried as well. A host that
hangs accepts connections and does not respond: it must not keep the link from the others."""

RECONNECT_RESET_AFTER = 1.0
"""Seconds that a connection must live to start the backoff from its beginning. After a shorter one
the pauses go on to grow."""


class LinkError(GatewayError):
    """The broker refused something, or the connection failed. The text has no credentials."""


class NotFoundError(LinkError):
    """The queue or exchange does not exist (404)."""


class NoChannelError(LinkError):
    """All channels that the broker allows on the connection are in use."""


class ConnectionGoneError(LinkError):
    """The connection ended before the response to a method came. Its reason may not be known
    yet."""


class BrokerConnection:
    """An open connection with its tap. ``url``: the host that it is connected to. ``connect``: how
    the connection was opened, as in :func:`open_connection`."""

    def __init__(
        self,
        aiormq_connection: aiormq.Connection,
        tap: Tap,
        url: BrokerUrl,
        connect: Connect | None = None,
    ) -> None:
        self._connection = aiormq_connection
        self._connect = connect
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
        """Open a channel that is not in confirm mode. At the end of the block it is closed.

        Raises :class:`LinkError`; :class:`NoChannelError` when ``channel_max`` channels are open:
        one more would make the broker close the connection.
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
            # aiormq may have reused the number of this channel if the broker has closed it.
            if self._connection.channels.get(channel.number) in (None, channel):
                self.tap.receiver.release(channel.number)

    def open_another(self) -> AbstractAsyncContextManager[BrokerConnection]:
        """A separate connection to the same host. Raises :class:`LinkError`."""
        return open_connection(self.url, self._connect)

    def _free_channel(self) -> int:
        """The next free channel number, in turn. aiormq frees the number of a channel that the
        broker has closed before it sends Close-Ok. The broker would close the connection if this
        number were used again at once."""
        for _ in range(self._channel_max):
            self._last_channel = self._last_channel % self._channel_max + 1
            if self._last_channel not in self._connection.channels:
                return self._last_channel
        raise NoChannelError(
            f"the broker allows {self._channel_max} channels on a connection (channel_max), "
            "and all are in use"
        )

    @property
    def node(self) -> str:
        """Product and version of the node, such as "RabbitMQ 4.1.0"; empty: it does not say so."""
        properties = self._connection.server_properties
        texts = [properties.get(key) for key in ("product", "version")]
        return " ".join(each for each in texts if isinstance(each, str))

    async def wait_lost(self) -> str:
        """Wait until the connection ends. Returns why."""
        closing = self._connection.closing
        closing.add_done_callback(lambda _: self.tap.lost.set())
        await self.tap.lost.wait()
        # The broker's reason, if it sent one, is processed shortly after the last bytes.
        with move_on_after(CLOSE_TIMEOUT):
            await asyncio.wait([closing])
        return self.tap.problem or close_reason(closing) or "the connection was lost"


class LinkUser(Protocol):
    """Something that works on a link's connections: a subscription, a publisher."""

    declares: bool
    """It is declaring at the moment: if the connection ends now, its declaration may be the
    cause."""

    @property
    def is_awaited(self) -> bool:
        """A request is waiting for it."""
        ...

    async def live(self, connection: BrokerConnection) -> None:
        """Work on this connection. It is cancelled when the connection ends."""

    def suspect(self, link: Link, problem: str) -> None:
        """The connection ended while it was declaring."""

    def detached(self, problem: str) -> None:
        """There is no connection. ``problem``: why."""

    def readiness(self) -> dict[str, object]: ...

    def readings(self, broker: str) -> Iterable[Reading]:
        """Its part of :meth:`Link.readings`. ``broker``: the label of that name."""
        ...

    def part(self, broker: str) -> StatePart:
        """Its part of :meth:`Link.parts`."""
        ...

    @property
    def message_counts(self) -> MessageCounts: ...


N = TypeVar("N", bound=LinkUser)


class Link:
    """Keeps one connection to a broker for one role. Several ``urls`` are hosts of a cluster: they
    are tried in their order, and the first one that responds is used.

    The link connects at the start of the gateway, and again at once when the connection breaks.
    Between failed attempts it pauses as ``backoff_strategy`` says, at most
    :data:`AWAITED_RETRY_INTERVAL` while a request is waiting. After ``max_retries`` failed attempts
    it is idle until the next request; with 0 it never stops trying.
    """

    def __init__(self, urls: tuple[BrokerUrl, ...], role: str, side: AsyncioSide) -> None:
        self.urls = tuple(dict.fromkeys(urls))
        self.role = role
        self._users: dict[Hashable, LinkUser] = {}
        self.concerned = Concerned()
        self.is_connected = False
        self.is_idle = False
        self.problem = "not connected yet"
        self._connection_count = 0
        self._node = ""
        self._changed_at = time.time()
        self._tap: Tap | None = None
        self._side = side
        self._url = urls[0]
        self._problems: dict[BrokerUrl, str] = {}
        self._backoff_names: set[str] = set()
        self._attempt_limits: set[int] = set()
        self._pauses = self.pauses()
        self._failures = 0
        self._retry_requested = asyncio.Event()

    def shared(self, key: Hashable, make: Callable[[], N]) -> N:
        """The user with this key; the first call makes it."""
        if key not in self._users:
            self._users[key] = make()
        return cast(N, self._users[key])

    def share_retries(self, backoff_strategy: str, max_retries: int) -> None:
        """Add the settings of a backend. Of several, the fastest backoff and the largest
        ``max_retries`` are used."""
        self._backoff_names.add(backoff_strategy if backoff_strategy in BACKOFFS else "fallback")
        self._attempt_limits.add(max(max_retries, 0))

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Keep the link connected while the block runs."""
        async with open_tasks() as service:
            service.start_soon(self._side.run, self._keep_connected)
            yield
            service.cancel_scope.cancel()

    def retry_soon(self) -> None:
        """A request begins to wait: shorten the pause before the next attempt."""
        self._retry_requested.set()

    def readiness(self) -> dict[str, object]:
        channels = [user.readiness() for user in self._users.values()]
        return {
            "ready": self.is_connected and all(each["ready"] for each in channels),
            "broker": self._url.name,
            "role": self.role,
            "connected": self.is_connected,
            "problem": self.problem,
            "channels": channels,
        }

    def readings(self) -> Iterator[Reading]:
        """The label ``broker`` is the first host: it stays the same when another one is used."""
        broker, tap = self.urls[0].name, self._tap
        labels = {"broker": broker, "role": self.role}
        is_blocked = self.is_connected and tap is not None and tap.is_blocked
        yield Reading("link.up", labels, self.is_connected)
        yield Reading("link.reconnects", labels, max(0, self._connection_count - 1))
        yield Reading("link.blocked", labels, is_blocked)
        for user in self._users.values():
            yield from user.readings(broker)

    def parts(self) -> Iterator[StatePart]:
        """As a :class:`gateway.telemetry.parts.Described`."""
        broker, tap, is_connected = self.urls[0].name, self._tap, self.is_connected
        yield LinkPart(
            broker=broker,
            role=self.role,
            status=(
                ("blocked" if tap.is_blocked else "up")
                if is_connected and tap is not None
                else ("idle" if self.is_idle else "down")
            ),
            problem=self.problem,
            host=self._url.name if is_connected else "",
            node=self._node if is_connected else "",
            reconnects=max(0, self._connection_count - 1),
            since=self._changed_at,
            silence=None if tap is None else max(0.0, time.monotonic() - tap.last_received),
            blocked_since=tap.blocked_at if tap is not None and tap.is_blocked else None,
            heartbeat=self._url.heartbeat,
            certificate_expires=None if tap is None else tap.certificate_expires,
        )
        for user in self._users.values():
            yield user.part(broker)

    @property
    def message_counts(self) -> MessageCounts:
        """Of all its users."""
        counts = MessageCounts()
        for user in self._users.values():
            counts = counts.plus(user.message_counts)
        return counts

    def pauses(self) -> Iterator[float]:
        """The pauses between attempts, from the first one."""
        for name, backoff in BACKOFFS.items():  # the fastest first
            if name in self._backoff_names:
                return backoff()
        return constant()

    async def pause(self, seconds: float) -> None:
        """Wait so long, but at most :data:`AWAITED_RETRY_INTERVAL` while a request is waiting."""
        self._retry_requested = asyncio.Event()
        await sleep(min(seconds, AWAITED_RETRY_INTERVAL))
        if seconds > AWAITED_RETRY_INTERVAL and not any(
            user.is_awaited for user in self._users.values()
        ):
            with move_on_after(seconds - AWAITED_RETRY_INTERVAL):
                await self._retry_requested.wait()

    @property
    def _max_attempts(self) -> int:
        """0: no limit."""
        return 0 if 0 in self._attempt_limits else max(self._attempt_limits, default=0)

    async def _wait_for_request(self) -> None:
        self._retry_requested = asyncio.Event()
        self.is_idle = True
        try:
            await self._retry_requested.wait()
        finally:
            self.is_idle = False

    async def _keep_connected(self) -> None:
        self._reset_pauses()
        while True:
            attempts = Attempts()
            async with open_tasks() as tasks:
                with attempts.search:
                    while True:
                        await self._try_hosts(attempts, tasks)
                        await self._pause_after_failure()
            assert attempts.connected_at is not None
            lifetime = asyncio.get_running_loop().time() - attempts.connected_at
            if lifetime >= RECONNECT_RESET_AFTER:
                self._reset_pauses()
            else:
                await self._pause_after_failure()

    def _reset_pauses(self) -> None:
        self._pauses, self._failures = self.pauses(), 0

    async def _pause_after_failure(self) -> None:
        self._failures += 1
        if not 0 < self._max_attempts <= self._failures:
            await self.pause(next(self._pauses))
            return
        log.error(
            "%s: not connected after %d attempts (max_retries): the next request starts new ones%s",
            self.urls[0],
            self._failures,
            self.concerned.after("for"),
        )
        await self._wait_for_request()
        self._reset_pauses()

    async def _try_hosts(self, attempts: Attempts, tasks: TaskGroup) -> None:
        """Try each host that is not being tried. Returns when one of all has failed; a success
        cancels it."""
        for url in self.urls:
            if url not in attempts.pending:
                tasks.start_soon(self._try_host, url, attempts, attempts.begin(url))
                with move_on_after(HOST_HEAD_START):
                    await attempts.wait_decided()
        while len(attempts.pending) == len(self.urls):
            await attempts.wait_decided()

    async def _try_host(self, url: BrokerUrl, attempts: Attempts, attempt: CancelScope) -> None:
        """Connect, and serve until the connection ends if no other attempt was faster."""
        with attempt:
            try:
                async with open_connection(url, self._side.connect) as connection:
                    if attempts.succeed(url):
                        await self._serve(connection)
            except LinkError as error:
                self._failed(url, str(error), attempt)
            except Exception as error:  # of any type: the other links must go on
                log.exception(
                    "%s: unexpected error, the gateway connects again (%s)", url, self.role
                )
                self._failed(url, f"unexpected error: {type(error).__name__}", attempt)
        attempts.fail(url)

    async def _serve(self, connection: BrokerConnection) -> None:
        """Let the users work until the connection ends. Raises :class:`LinkError`."""
        self._url = connection.url
        self.is_connected, self.problem = True, ""
        self._connection_count += 1
        self._changed_at, self._node = time.time(), connection.node
        self._tap = connection.tap
        self._problems.clear()
        log.info("%s: connected (%s)%s", self._url, self.role, self.concerned.after("for"))
        connection.tap.note_blocked = self._note_blocked
        problem = CLOSED  # aiormq may cancel a future: the group then ends without a reason
        try:
            async with open_tasks() as users:
                for user in self._users.values():
                    users.start_soon(user.live, connection)
                users.start_soon(_abort_when_silent, connection.tap, self._url.heartbeat)
                problem = await connection.wait_lost()
                self.is_connected = False
                for user in self._users.values():
                    if user.declares:
                        user.suspect(self, problem)
                users.cancel_scope.cancel()
        finally:
            self.is_connected, self._tap = False, None
            self._changed_at = time.time()
        raise LinkError(problem)

    def _note_blocked(self, is_blocked: bool) -> None:
        """RabbitMQ reports an alarm to every connection. It concerns only those that publish."""
        if self.role == "publish":
            level = logging.WARNING if is_blocked else logging.INFO
            what = BLOCKED if is_blocked else "accepts messages again"
            log.log(level, "%s: %s%s", self._url, what, self.concerned.after("for"))

    def _failed(self, url: BrokerUrl, problem: str, attempt: CancelScope) -> None:
        """The host cannot be connected, or its connection has ended."""
        if attempt.cancel_called:
            return  # another host is connected
        if problem != self._problems.get(url):
            log.warning("%s: %s (%s)%s", url, problem, self.role, self.concerned.after("for"))
        self.problem = self._problems[url] = problem
        for user in self._users.values():
            user.detached(problem)


@asynccontextmanager
async def open_connection(
    url: BrokerUrl, connect: Connect | None = None
) -> AsyncGenerator[BrokerConnection]:
    """Connect, log in and open the virtual host. Raises :class:`LinkError`.

    ``connect``: opens the transport; None: a socket of the loop.
    """
    factory = TapFactory(url.server_name, connect)
    connection = aiormq.Connection(url.aiormq, transport_factory=factory)
    connection.vhost = url.vhost
    is_open = False
    try:
        with fail_after(url.connect_timeout):
            await call(connection.connect())
        is_open = True
    except TimeoutError as error:
        raise LinkError(f"no response within {url.connect_timeout:g} s") from error
    except LinkError as error:
        raise LinkError(factory.problem or str(error)) from error
    finally:
        if not is_open:
            factory.abort()
    assert factory.tap is not None
    opened = BrokerConnection(connection, factory.tap, url, connect)
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
    """Await a call of aiormq. Every error that it raises becomes a :class:`LinkError`.

    When a connection is closed, aiormq cancels the futures of pending calls. The task that waits is
    not cancelled, so this function raises :class:`ConnectionGoneError` instead.
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
    except Exception as error:  # a decoder may raise anything for malformed bytes
        log.debug("unexpected error of the AMQP library", exc_info=True)
        raise LinkError(f"the AMQP library failed: {type(error).__name__}: {error}") from error


async def call_uninterrupted(awaitable: Awaitable[T]) -> T:
    """As :func:`call`, but a cancellation waits for the response, at most :data:`RESPONSE_TIMEOUT`.

    aiormq closes the channel when a call is cancelled. Acknowledgements that are not written yet
    would be lost, and their messages delivered again.
    """
    try:
        with fail_after(RESPONSE_TIMEOUT, shield=True):
            return await call(awaitable)
    except TimeoutError as error:
        raise LinkError(f"no response within {RESPONSE_TIMEOUT:g} s") from error


def describe(error: BaseException) -> str:
    """The text of the broker or of aiormq, on one line. It contains no URL, and no number alone."""
    texts = [" ".join(arg.split()) for arg in error.args if isinstance(arg, str) and arg]
    return ", ".join(texts) or type(error).__name__


def close_reason(closing: asyncio.Future[object]) -> str:
    """Why a connection or a channel of aiormq was closed; empty when that is not known."""
    if not closing.done() or closing.cancelled():
        return ""
    error = closing.exception()
    return "" if error is None else describe(error)


async def call_ignoring_errors(awaitable: Awaitable[object]) -> None:
    """As :func:`call` while something is closed: errors are logged at the level DEBUG only."""
    try:
        await call(awaitable)
    except LinkError as error:
        log.debug("while closing: %s", error)


async def _abort_when_silent(tap: Tap, heartbeat: int) -> None:
    """End the connection after two heartbeats without any bytes from the broker, which sends some
    at least every half heartbeat. aiormq itself would wait for three."""
    if heartbeat == 0:
        return
    loop = asyncio.get_running_loop()
    while (silence := loop.time() - tap.last_received) < 2 * heartbeat:
        await sleep(2 * heartbeat - silence)
    tap.abort()
