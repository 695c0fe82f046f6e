"""What a new version of hypercorn has to have for gateway/server/hypercorn/hypercorn_inside.py."""

from __future__ import annotations

import asyncio
import errno
import inspect
import socket
from contextlib import nullcontext
from typing import Any

import hypercorn.asyncio.tcp_server
import hypercorn.trio.tcp_server
import pytest
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol

from gateway.server.hypercorn.hypercorn_inside import EdgeConfig, install


@pytest.mark.parametrize("server", [hypercorn.asyncio.tcp_server, hypercorn.trio.tcp_server])
def test_a_server_of_a_connection_builds_what_it_finds_under_this_name(server: object) -> None:
    code = server.TCPServer.run.__code__  # type: ignore[attr-defined]
    assert "ProtocolWrapper" in code.co_names
    assert hasattr(server, "ProtocolWrapper")


def test_protocols_take_what_the_wrapper_takes() -> None:
    names = list(inspect.signature(ProtocolWrapper.__init__).parameters)[1:]
    assert names[1] == "config"
    assert names[-2:] == ["send", "alpn_protocol"]
    for kind in (H11Protocol, H2Protocol):
        assert len(inspect.signature(kind.__init__).parameters) == len(names)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (H11Protocol, ["_handle_events", "stream_send", "handle"]),
        (
            H2Protocol,
            [
                "handle",
                "send_task",
                "stream_send",
                "_handle_events",
                "_priority_updated",
                "_create_stream",
                "_close_stream",
                "_flush",
            ],
        ),
    ],
)
def test_methods_that_are_replaced_or_used_are_coroutines(kind: type, names: list[str]) -> None:
    for name in names:
        assert inspect.iscoroutinefunction(getattr(kind, name))


def test_http2_keeps_what_is_not_sent_by_stream() -> None:
    names = H2Protocol.__init__.__code__.co_names
    assert {"stream_buffers", "streams", "priority", "has_data", "connection"} <= set(names)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("config", [EdgeConfig(), Config()], ids=["ours", "foreign"])
async def test_a_connection_that_the_kernel_has_given_up_is_closed_without_an_error(
    config: Config,
) -> None:
    server_kind: Any = hypercorn.asyncio.tcp_server.TCPServer
    for _ in range(2):
        install(hypercorn.asyncio.tcp_server)
    ours, clients = socket.socketpair()
    with clients:
        reader, writer = await asyncio.open_connection(sock=ours)
        context, loop = WorkerContext(None), asyncio.get_running_loop()
        server = server_kind(None, loop, config, context, {}, reader, writer)
        lost = TimeoutError(errno.ETIMEDOUT, "timed out")
        writer.transport.get_protocol().connection_lost(lost)
        is_ours = isinstance(config, EdgeConfig)
        with nullcontext() if is_ours else pytest.raises(TimeoutError):
            await server._close()
