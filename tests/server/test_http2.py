"""HTTP/2 under attack: floods, answers that are not taken, heads that no request has."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from anyio import EndOfStream, Event, fail_after, wait_all_tasks_blocked
from anyio.abc import ByteStream
from h2.errors import ErrorCodes
from h2.exceptions import StreamClosedError
from msgspec.structs import replace

from gateway.core.asgi import Receive, Scope, Send
from gateway.server import Limits, ServeSettings
from gateway.server.hypercorn import http2_frames
from gateway.server.hypercorn.http2_frames import (
    MAX_FRAME_BURST,
    MAX_FRAMES_PER_TURN,
    PREFACE_BYTES,
    FrameFlood,
    Frames,
)

from .client import connect, serving, until
from .test_unsent import Application

pytestmark = pytest.mark.anyio

LIMITS = Limits(answer_time=30, body_bytes=100_000)
SETTINGS = ServeSettings(server="hypercorn", limits=LIMITS, grace=1)


class Waiting(Application):
    """Answers when it may."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.may_answer = Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.asked.append(scope["path"])
            await self.may_answer.wait()
        await super().__call__(scope, receive, send)


def request(path: str = "/", method: str = "GET") -> list[tuple[str, str]]:
    return [(":method", method), (":scheme", "http"), (":path", path), (":authority", "x")]


class Client:
    """A client that lets ``window`` bytes of each stream be sent, and reads until something is."""

    def __init__(self, stream: ByteStream, window: int = 65_535) -> None:
        self.stream = stream
        self.statuses: dict[int, bytes] = {}
        self.data: dict[int, int] = {}
        self.resets: list[int] = []
        self.ended: set[int] = set()
        self.goaway: int | None = None
        self.pongs = 0
        config = h2.config.H2Configuration(client_side=True, validate_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        code = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values={code: window})
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(10_000_000)

    async def ask(self, stream_id: int, headers: Any = None, *, is_whole: bool = True) -> None:
        self.h2.send_headers(stream_id, headers or request(f"/{stream_id}"), end_stream=is_whole)
        await self.flush()

    async def flush(self) -> None:
        await self.stream.send(self.h2.data_to_send())

    async def until(self, condition: Any) -> None:
        with fail_after(20):
            while not condition():
                for event in self.h2.receive_data(await self.stream.receive()):
                    self._take(event)
                if data := self.h2.data_to_send():
                    await self.stream.send(data)

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self.statuses[event.stream_id] = dict(event.headers)[b":status"]
        elif isinstance(event, h2.events.DataReceived):
            self.data[event.stream_id] = self.data.get(event.stream_id, 0) + len(event.data)
        elif isinstance(event, h2.events.StreamReset):
            self.resets.append(event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id)
        elif isinstance(event, h2.events.PingAckReceived):
            self.pongs += 1
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event.error_code


async def opened(port: int, window: int = 65_535) -> Client:
    client = Client(await connect(port, "h2"), window)
    await client.flush()
    return client


@pytest.fixture
async def app() -> Application:
    return Application(5)


@pytest.fixture
async def port(app: Application) -> AsyncGenerator[int]:
    async with serving(app, SETTINGS) as (port, _):
        yield port


async def served(port: int) -> None:
    """Another client is, and the server is there."""
    client = await opened(port)
    await client.ask(1)
    await client.until(lambda: 1 in client.ended)
    assert client.statuses[1] == b"200"
    await client.stream.aclose()


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream_id: int = 0) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return head + stream_id.to_bytes(4, "big") + payload


FLOODS = {
    "settings": frame(4, b"\0\3\0\0\0\x64"),
    "empty settings": frame(4),
    "priority": frame(2, b"\0\0\0\0\1", 0, 5),
    "window": frame(8, b"\0\0\0\1"),
    "ping": frame(6, b"12345678"),
    "unknown": frame(200, b"x"),
    "empty data": frame(0, b"", 0, 1),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=list(FLOODS))
async def test_a_flood_of_frames_closes_its_connection_and_no_other(
    port: int, monkeypatch: pytest.MonkeyPatch, flood: bytes
) -> None:
    monkeypatch.setattr(http2_frames, "MAX_FRAME_RATE", 0)  # however slow this machine is
    client = await opened(port)
    await client.ask(1, request(method="POST"), is_whole=False)
    await client.stream.send(flood * (MAX_FRAME_BURST + 100))
    await client.until(lambda: client.goaway is not None)
    assert client.goaway == ErrorCodes.ENHANCE_YOUR_CALM
    with pytest.raises(EndOfStream):
        await client.until(lambda: False)
    await served(port)


async def test_a_client_that_resets_its_requests_is_given_up(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_frames, "MAX_FRAME_RATE", 0)
    client = await opened(port)
    for stream_id in range(1, 601, 2):
        client.h2.send_headers(stream_id, request(), end_stream=True)
        client.h2.reset_stream(stream_id)
    await client.flush()
    await client.until(lambda: client.goaway is not None)
    assert client.goaway == ErrorCodes.ENHANCE_YOUR_CALM
    await served(port)


async def test_a_client_that_reads_much_may_send_as_many_updates(
    app: Application, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_frames, "MAX_FRAME_RATE", 0)
    app.size = 16_384 * MAX_FRAME_BURST // 2
    client = await opened(port)
    await client.ask(1)
    with fail_after(50):
        while 1 not in client.ended:
            for event in client.h2.receive_data(await client.stream.receive()):
                client._take(event)
                size = getattr(event, "flow_controlled_length", 0)
                if size and 1 not in client.ended:
                    client.h2.increment_flow_control_window(size)
                    with suppress(StreamClosedError):  # its end came with these bytes
                        client.h2.increment_flow_control_window(size, 1)
            await client.flush()
    assert client.data[1] == app.size
    assert client.goaway is None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(":method", "CONNECT"), (":authority", "x:443")], b"405"),
        (request("/p", "CONNECT"), b"405"),
        ([*request("/p", "CONNECT"), (":protocol", "websocket")], b"405"),
        (request("/\xff"), b"400"),
        (request("p"), b"400"),
        ([(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a/b")], b"400"),
        ([*request(), ("content-length", "200000")], b"413"),
        ([*request(), ("x", "," * 3_000)], b"431"),
    ],
)
async def test_a_head_that_no_request_has_is_refused_and_others_go_on(
    app: Application, port: int, headers: list[tuple[str, str]], status: bytes
) -> None:
    client = await opened(port)
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await client.ask(1, raw, is_whole=False)
    await client.until(lambda: 1 in client.statuses or client.goaway is not None or client.resets)
    if client.goaway is None and not client.resets:
        assert client.statuses[1] == status
        await client.ask(3)
        await client.until(lambda: 3 in client.ended)
    assert "/1" not in app.asked
    await served(port)


async def test_a_body_that_comes_behind_the_answer_harms_nobody(port: int) -> None:
    client = await opened(port)
    await client.ask(1, [*request(method="POST"), ("content-length", "200000")], is_whole=False)
    await client.until(lambda: 1 in client.ended)
    assert client.statuses[1] == b"413"
    # As the client's library would not: it knows that the stream has ended.
    await client.stream.send(frame(0, b"x" * 1000, 0, 1) * 10)
    await client.ask(3)
    await client.until(lambda: 3 in client.ended or client.goaway is not None)
    await served(port)


async def test_a_client_that_asks_nothing_is_closed_after_the_idle_time() -> None:
    settings = replace(SETTINGS, limits=replace(LIMITS, idle_time=0.1))
    async with serving(Application(5), settings) as (port, _):
        client = await opened(port)
        with pytest.raises(EndOfStream):
            await client.until(lambda: False)


async def test_a_client_that_asks_nothing_does_not_delay_the_stop() -> None:
    async with serving(Application(5), replace(SETTINGS, grace=60)) as (port, stop):
        client = await opened(port)
        await client.until(lambda: client.h2.remote_settings.max_concurrent_streams < 2**31)
        stop.set()
        with pytest.raises(EndOfStream):
            await client.until(lambda: False)


async def test_an_answer_that_ends_during_the_stop_is_complete() -> None:
    app = Waiting(5)
    async with serving(app, replace(SETTINGS, grace=20)) as (port, stop):
        client = await opened(port)
        await client.ask(1)
        await until(lambda: "/1" in app.asked)
        stop.set()
        await wait_all_tasks_blocked()
        app.may_answer.set()
        with suppress(EndOfStream):  # the server closes without GOAWAY if the answer ends before
            await client.until(lambda: client.goaway is not None)
        assert 1 in client.ended


async def test_a_stream_that_is_not_taken_in_time_is_reset_and_others_go_on() -> None:
    app = Application(20_000)
    settings = replace(SETTINGS, limits=replace(LIMITS, answer_time=1))
    async with serving(app, settings) as (port, _):
        client = await opened(port, window=100)
        await client.ask(1)
        await client.until(lambda: client.resets)
        assert client.resets == [1]
        await until(lambda: app.left == {"/1": False})
        client.h2.send_headers(3, request("/3"), end_stream=True)
        client.h2.increment_flow_control_window(20_000, 3)
        await client.flush()
        await client.until(lambda: 3 in client.ended)
        assert client.data[3] == 20_000


async def test_further_requests_of_a_connection_wait_while_too_much_is_not_taken() -> None:
    app = Application(20_000)
    settings = replace(SETTINGS, limits=replace(LIMITS, connection_unsent_bytes=10_000))
    async with serving(app, settings) as (port, _):
        client = await opened(port, window=100)
        await client.ask(1)
        await client.until(lambda: 1 in client.data)
        client.h2.send_headers(3, request("/3"), end_stream=True)
        client.h2.increment_flow_control_window(20_000, 3)
        for number in range(20):
            client.h2.ping(b"12345678")
            await client.flush()
            await client.until(lambda: client.pongs > number)  # noqa: B023
        assert app.asked == ["/1"]
        client.h2.increment_flow_control_window(20_000, 1)
        await client.flush()
        await client.until(lambda: {1, 3} <= client.ended)
    assert app.asked == ["/1", "/3"]


async def test_of_all_streams_no_more_waits_than_the_limit() -> None:
    app = Application(100_000)
    settings = replace(SETTINGS, limits=replace(LIMITS, unsent_bytes=250_000))
    async with serving(app, settings) as (port, _):
        silent = await opened(port, window=100)
        for stream_id in (1, 3, 5, 7):
            await silent.ask(stream_id)
        await silent.until(lambda: len(silent.resets) >= 2)
        reader = await opened(port, window=200_000)
        await reader.ask(1)
        await reader.until(lambda: 1 in reader.ended)
        assert reader.data[1] == 100_000
        await silent.stream.aclose()


def test_frames_are_handed_over_in_pieces_wherever_they_are_cut() -> None:
    stream = b"p" * PREFACE_BYTES + b"".join(frame(0, b"x" * size, 0, 1) for size in range(1, 200))
    for step in (1, 7, 10, 1000, len(stream)):
        frames = Frames(0)
        pieces: list[bytes] = []
        for begin in range(0, len(stream), step):
            pieces += frames.pieces(stream[begin : begin + step], 0)
        assert b"".join(pieces) == stream
    assert len(list(Frames(0).pieces(stream, 0))) == 199 // MAX_FRAMES_PER_TURN + 1


def test_so_many_frames_are_allowed_a_second() -> None:
    frames, ping = Frames(0), frame(6, b"12345678")
    list(frames.pieces(b"p" * PREFACE_BYTES + ping * MAX_FRAME_BURST, 0))
    with pytest.raises(FrameFlood):
        list(frames.pieces(ping, 0))
    list(frames.pieces(ping * http2_frames.MAX_FRAME_RATE, 1.01))
