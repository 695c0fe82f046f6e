"""``"gateway": {"request_id": true}`` on every server: the client, the backend and the log have the
same id."""

from __future__ import annotations

import json
import logging
import re
import socket
from typing import Any

import pytest

from gateway import open_gateway
from gateway.components.log.access_log import ACCESS_LOG
from gateway.server import ServeSettings
from gateway.server.settings import ServerName

from ..http.service import answering, message
from ..http.service import serving as serving_backend
from .client import connect, get, receive_until, serving
from .servers import anyio_backend, pair

__all__ = ["anyio_backend", "pair"]

pytestmark = pytest.mark.anyio

ID = re.compile(rb"\r\nx-request-id: ([^\r]*)\r\n", re.IGNORECASE)
BODY = b'{"end":1}'
PATHS = ("/direct", "/direct", "/stream", "/direct?a=1", "/down", "/missing")


def configuration(backend: str, down: str) -> dict[str, Any]:
    def endpoint(path: str, host: str, encoding: str = "json") -> dict[str, Any]:
        backend = {"host": [host], "url_pattern": "/", "encoding": encoding}
        return {"endpoint": path, "backend": [backend], "output_encoding": encoding}

    return {
        "version": 3,
        "extra_config": {
            "gateway": {"request_id": True},
            "telemetry/logging": {"level": "INFO", "stdout": True, "access_log_format": "json"},
        },
        "endpoints": [
            endpoint("/direct", backend),
            endpoint("/stream", backend, "no-op"),
            endpoint("/down", down),
        ],
    }


def records(caplog: pytest.LogCaptureFixture, name: str) -> list[logging.LogRecord]:
    return [each for each in caplog.records if each.name == name]


@pytest.mark.parametrize("sent", [(), ("X-Request-Id: a b",), ("X-Request-Id: one",)])
async def test_the_client_the_backend_and_the_log_have_one_id(
    pair: tuple[str, ServerName], sent: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ids: list[bytes] = []
    with socket.socket() as deaf, serving_backend(answering(message(BODY))) as backend:
        deaf.bind(("127.0.0.1", 0))  # it does not listen
        down = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with (
            open_gateway(configuration(backend.url, down)) as gateway,
            serving(gateway.asgi, ServeSettings(server=pair[1])) as (port, _),
        ):
            client = await connect(port)
            for path in PATHS:
                await client.send(get(path, *sent))
                end = {"/missing": b"page not found"}.get(path, BODY)
                head = await receive_until(client, b"\r\n\r\n" if path == "/down" else end)
                ids += ID.findall(head)
    called = [found[1] for each in backend.requests if (found := ID.search(each)) is not None]
    logged = [json.loads(each.getMessage()) for each in records(caplog, ACCESS_LOG)]
    [failed] = [vars(each)["fields"] for each in records(caplog, "gateway.requests")]
    assert len(ids) == len(PATHS)
    assert called == ids[:4]
    assert sorted(line["request_id"].encode() for line in logged) == sorted(ids)
    assert failed["request_id"].encode() == ids[4]
    if sent == ("X-Request-Id: one",):
        assert {*ids} == {b"one"}
    else:
        assert len({*ids}) == len(ids)
        assert all(re.fullmatch(rb"[0-9a-f]{32}", each) for each in ids)
