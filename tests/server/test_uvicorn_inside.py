"""What a new version of uvicorn has to have for gateway/server/http1/uvicorn_inside.py."""

from __future__ import annotations

import inspect

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.server.http1.uvicorn_inside import HIGH_WATER_LIMIT, STATUS_LINE, FlowControl
from gateway.server.http1.uvicorn_protocol import HttpProtocol


def fields(kind: type, method: str) -> set[str]:
    """The names that a method sets or reads."""
    return set(getattr(kind, method).__code__.co_names)


def test_a_protocol_is_built_with_the_same_arguments() -> None:
    theirs = list(inspect.signature(HttpToolsProtocol).parameters)
    assert theirs == ["config", "server_state", "app_state", "_loop"]
    assert list(inspect.signature(HttpProtocol).parameters) == [*theirs, "sweeper"]


def test_a_protocol_has_what_is_used_of_it() -> None:
    used = {"app", "loop", "root_path", "app_state", "server_state", "connections", "tasks"}
    assert used | {"parser", "cycle", "headers"} <= fields(HttpToolsProtocol, "__init__")
    made = {"connections", "add", "transport", "flow", "server", "client", "scheme"}
    assert made <= fields(HttpToolsProtocol, "connection_made")
    assert "url" in fields(HttpToolsProtocol, "on_url")


@pytest.mark.parametrize(
    "name",
    [
        *("data_received", "eof_received", "connection_lost", "pause_writing", "resume_writing"),
        *("on_message_begin", "on_header", "on_headers_complete", "on_body"),
        *("on_message_complete", "on_response_complete", "shutdown"),
    ],
)
def test_methods_that_are_overridden_take_the_same_arguments(name: str) -> None:
    names = [
        list(inspect.signature(getattr(kind, name)).parameters)
        for kind in (HttpProtocol, HttpToolsProtocol)
    ]
    assert names[0] == names[1]


def test_every_callback_of_the_parser_but_one_is_overridden() -> None:
    callbacks = {name for name in vars(HttpToolsProtocol) if name.startswith("on_")}
    overridden = {name for kind in HttpProtocol.__mro__[:2] for name in vars(kind)}
    assert callbacks - overridden == {"on_url"}


def test_a_server_stops_its_connections_and_cancels_its_tasks() -> None:
    assert {"connections", "tasks", "shutdown", "cancel"} <= fields(uvicorn.Server, "shutdown")
    assert "default_headers" in fields(uvicorn.Server, "on_tick")
    assert {"total_requests", "connections", "tasks", "default_headers"} <= set(vars(ServerState()))


def test_a_server_calls_what_is_overridden() -> None:
    assert "startup" in fields(uvicorn.Server, "_serve")
    assert "capture_signals" in fields(uvicorn.Server, "serve")


def test_flow_control_and_status_lines_are_as_they_were() -> None:
    names = fields(FlowControl, "__init__")
    assert {"read_paused", "write_paused"} <= names
    for method in ("pause_reading", "resume_reading", "pause_writing", "resume_writing"):
        assert callable(getattr(FlowControl, method))
    assert inspect.iscoroutinefunction(FlowControl.drain)
    assert STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"
    assert set(range(100, 600)) <= set(STATUS_LINE)
    assert HIGH_WATER_LIMIT == 64 * 1024
