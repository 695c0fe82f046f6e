"""A head that comes again is not parsed again, and nobody can tell."""

from __future__ import annotations

import asyncio
import re
import socket
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.asgi import Receive, Scope, Send
from gateway.server import Limits
from gateway.server.http1.head_cache import MAX_HEAD_BYTES, MAX_REPLACED_HEADS, cacheable_head
from gateway.server.http1.protocol import MAX_CHUNKED_BYTES_PER_TURN, HttpProtocol
from gateway.server.http1.server_state import ServerState
from gateway.server.unsent import Unsent

LIMITS = Limits(header_bytes=6000, body_bytes=50)
ENOUGH_TURNS = 40

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /p?q=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"

Seen = tuple[str, str, bytes, list[tuple[bytes, bytes]], bytes, bool]


class Conversation:
    """What the application was asked on one connection, and what the client got."""

    def __init__(self) -> None:
        self.asked: list[Seen] = []
        self.answered = b""
        self.parsed = 0

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        message: dict[str, Any] = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        self.asked.append(
            (
                scope["method"],
                scope["path"],
                scope["query_string"],
                list(scope["headers"]),
                body,
                message["type"] == "http.disconnect",
            )
        )
        if message["type"] == "http.request":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"<" + body + b">"})


class Counting(HttpProtocol):
    """Counts the heads that are parsed."""

    parsed = 0

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.parsed += 1


def converse(chunks: list[bytes], *, knows: bool = True) -> Conversation:
    """Hand ``chunks`` to a connection as if they had been read so; without ``knows`` it parses
    every head."""
    return asyncio.run(_converse(chunks, knows))


def test_a_body_in_chunks_of_one_byte_is_parsed_piece_by_piece() -> None:
    async def parse() -> None:
        conversation = Conversation()
        protocol, ours, theirs = await _connected(conversation)
        with theirs:
            size = 40_000
            head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            protocol.limits = replace(LIMITS, body_bytes=size)
            protocol.data_received(head + b"1\r\nx\r\n" * size + b"0\r\n\r\n" + GET)
            most = parsed = 0
            while len(conversation.asked) < 2:
                most, parsed = max(most, protocol._body_bytes - parsed), protocol._body_bytes
                await asyncio.sleep(0)
            ours.close()
        assert conversation.asked[0][4] == b"x" * size
        assert 0 < most <= MAX_CHUNKED_BYTES_PER_TURN // 6 + 1

    asyncio.run(asyncio.wait_for(parse(), 30))


async def _converse(chunks: list[bytes], knows: bool) -> Conversation:
    conversation = Conversation()
    protocol, transport, theirs = await _connected(conversation)
    if not knows:
        protocol._replaced_heads = MAX_REPLACED_HEADS
    with theirs:
        for chunk in chunks:
            protocol.data_received(chunk)
            for _ in range(ENOUGH_TURNS):
                await asyncio.sleep(0)
        conversation.parsed = protocol.parsed
        transport.close()
        loop = asyncio.get_running_loop()
        while received := await loop.sock_recv(theirs, 65536):
            conversation.answered += received
    return conversation


async def _connected(
    conversation: Conversation,
) -> tuple[Counting, asyncio.Transport, socket.socket]:
    """A connection that reads nothing by itself, and the client's end of it."""
    loop = asyncio.get_running_loop()
    protocol = Counting(ServerState(conversation.app, LIMITS, Unsent(LIMITS.unsent_bytes)))
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, ours)
    transport.pause_reading()
    return protocol, transport, theirs


LINES = st.sampled_from(
    [
        b"Content-Length: 4\r\n",
        b"Content-Length: 04\r\n",
        b"Content-Length: 60\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
        b"Expect: 100-continue\r\n",
        b"X: 1\r\n",
        b"X: folded\r\n more\r\n",
        b"Y: bare\n",
        b"Z:\t padded \t\r\n",
        b"no header\r\n",
    ]
)
FIRST = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n",
        b"HEAD /h HTTP/1.1\r\n",
        b"POST /%41?q HTTP/1.1\r\n",
        b"GET /old HTTP/1.0\r\n",
        b"GET http://other/ HTTP/1.1\r\n",
        b"\r\nGET / HTTP/1.1\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\n",
        b"\n\nGET / HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
    ]
)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b""])
BODIES = st.sampled_from(
    [b"", b"", b"abcd", b"abcdabcd", b"3\r\nabc\r\n0\r\n\r\n", GET, b"\r\n\r\n"]
)
HOSTS = st.sampled_from([b"Host: a\r\n"] * 8 + [b"", b"Host: a\r\nhost: b\r\n"])
HEADS = st.builds(
    lambda first, host, lines, end: first + host + b"".join(lines) + end,
    FIRST,
    HOSTS,
    st.lists(LINES, max_size=2),
    ENDS,
)
MESSAGES = st.one_of(
    st.sampled_from([GET, POST + b"abcd", POST + b"ab", CHUNKED, b"\r\n\r\n" + GET]),
    st.builds(bytes.__add__, HEADS, BODIES),
)


@st.composite
def chunked_streams(draw: st.DrawFn) -> list[bytes]:
    """Messages of which many come again, cut anywhere."""
    kinds = draw(st.lists(MESSAGES, min_size=1, max_size=2))
    messages = draw(st.lists(st.sampled_from(kinds), min_size=2, max_size=5))
    if draw(st.integers(0, 2)):
        return messages
    stream = b"".join(messages)
    cuts = sorted(draw(st.sets(st.integers(0, len(stream)), max_size=4)) | {0, len(stream)})
    return [stream[begin:end] for begin, end in pairwise(cuts)]


@example([GET, GET[:-2] + b"\n", GET])
@given(chunked_streams())
@settings(max_examples=300, deadline=None)
def test_whatever_comes_is_taken_as_if_every_head_were_parsed(chunks: list[bytes]) -> None:
    known, parsed = converse(chunks), converse(chunks, knows=False)
    assert known.asked == parsed.asked
    assert known.answered == parsed.answered


@pytest.mark.parametrize("request_bytes", [GET, POST + b"abcd"])
def test_it_is_parsed_once(request_bytes: bytes) -> None:
    conversation = converse([request_bytes] * 5)
    assert conversation.parsed == 1
    assert len(conversation.asked) == 5
    assert len(set(map(str, conversation.asked))) == 1
    assert len(re.findall(b"200 OK", conversation.answered)) == 5


def test_requests_sent_ahead_are_known_too() -> None:
    conversation = converse([GET, GET * 10])
    assert conversation.parsed == 1
    assert len(conversation.asked) == 11


def test_the_body_is_each_time_its_own() -> None:
    conversation = converse([POST + b"%04d" % number for number in range(5)])
    assert [asked[4] for asked in conversation.asked] == [b"%04d" % number for number in range(5)]
    assert conversation.parsed == 1


def test_a_client_whose_heads_differ_is_given_up() -> None:
    differing = [b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(30)]
    assert converse([*differing, GET, GET]).parsed == 32


def test_a_head_that_announces_too_much_is_refused_each_time() -> None:
    post = POST.replace(b": 4", b": 51")
    assert converse([post]).answered.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"\r\n\r\n" + GET, []),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", []),
        (b"GET / HTTP/1.1\nHost: a\n\n", []),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n", []),
        (GET, [(b"transfer-encoding", b"chunked")]),
    ],
)
def test_what_may_end_elsewhere_is_not_kept(
    data: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    assert cacheable_head(data, {}, headers, 0) is None
