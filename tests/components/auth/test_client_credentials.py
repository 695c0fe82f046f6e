"""``auth/client-credentials``: the gateway's own token for a backend."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anyio import create_task_group
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.auth.client_credentials import TokenSource, read_token, token_request
from gateway.components.auth.settings import ClientCredentialsSettings
from gateway.errors import GatewayError
from gateway.http.connection import HttpResponse
from gateway.http.request_head import BackendRequest
from gateway.http.transport import Arrive, Withdraw

from ...http.service import Script, answering, message, serving
from .support import echoing, get, opened

pytestmark = pytest.mark.anyio


def giving(**document: Any) -> Script:
    return answering(message(json.dumps({"access_token": "t", **document}).encode()))


def asking(host: str, url: str, **settings: Any) -> dict[str, Any]:
    credentials = {"client_id": "me", "client_secret": "a b&c", "token_url": url, **settings}
    return {
        "endpoint": "/a",
        "input_headers": ["*"],
        "backend": [
            {
                "host": [host],
                "url_pattern": "/",
                "extra_config": {"auth/client-credentials": credentials},
            }
        ],
    }


async def test_requests_carry_the_gateways_token_and_not_the_clients() -> None:
    with serving(giving()) as server, serving(echoing) as service:
        async with opened(asking(service.url, f"{server.url}/token")) as app:
            reply = await get(app, "/a", "of the client")
            await get(app, "/a")
    assert [value for name, value in reply.json()["headers"] if name == "authorization"] == [
        "Bearer t"
    ]
    assert len(server.requests) == 1
    request = server.requests[0]
    assert request.startswith(b"POST /token HTTP/1.1\r\n")
    assert b"Authorization: Basic bWU6YStiJTI2Yw==" in request
    assert request.endswith(b"\r\n\r\ngrant_type=client_credentials")


async def test_many_requests_cause_one_token_request() -> None:
    with serving(giving()) as server, serving(echoing) as service:
        async with opened(asking(service.url, server.url)) as app:
            async with create_task_group() as requests:
                for _ in range(10):
                    requests.start_soon(get, app, "/a")
    assert (len(server.requests), len(service.requests)) == (1, 10)


async def test_a_token_that_expires_soon_is_not_used_again() -> None:
    with serving(giving(expires_in=9)) as server, serving(echoing) as service:
        async with opened(asking(service.url, server.url)) as app:
            assert [(await get(app, "/a")).status for _ in range(2)] == [200, 200]
    assert len(server.requests) == 2


async def test_the_secret_is_sent_in_the_body_if_the_server_requires_it() -> None:
    def script(service: Any, connection: Any, request: bytes) -> bool:
        is_in_body = b"client_id=me&client_secret=a+b%26c" in request
        answer = message(b'{"access_token":"t","expires_in":1}')
        connection.sendall(answer if is_in_body else message(b"", "401 Unauthorized"))
        return True

    with serving(script) as server, serving(echoing) as service:
        async with opened(asking(service.url, server.url)) as app:
            assert [(await get(app, "/a")).status for _ in range(2)] == [200, 200]
    assert len(server.requests) == 3  # the second time it is known


async def test_without_a_token_the_backend_is_not_called() -> None:
    with serving(answering(message(b"{}"))) as server, serving(echoing) as service:
        async with opened(asking(service.url, server.url)) as app:
            assert (await get(app, "/a")).status == 500
    assert service.requests == []


async def test_it_can_be_switched_off() -> None:
    with serving(echoing) as service:
        async with opened(asking(service.url, "http://nowhere", is_disabled=True)) as app:
            reply = await get(app, "/a", "of the client")
    assert ["authorization", "Bearer of the client"] in reply.json()["headers"]


class Held:
    """A transport that answers when it is told."""

    def __init__(self) -> None:
        self.asked: list[Arrive] = []
        self.withdrawn = 0

    def __call__(self, outgoing: BackendRequest, arrive: Arrive) -> Withdraw:
        self.asked.append(arrive)

        def withdraw() -> None:
            self.withdrawn += 1

        return withdraw


SETTINGS = ClientCredentialsSettings(client_id="me", token_url="http://server/")
OUTGOING = token_request(SETTINGS, is_in_body=False)
GOOD = HttpResponse(200, [], b'{"access_token":"t"}')


def test_after_the_last_waiting_request_the_token_request_is_withdrawn() -> None:
    from gateway.components.auth.client_credentials import WaitingForToken

    server, backend, arrived = Held(), Held(), list[Any]()
    tokens = TokenSource(SETTINGS, server)
    first = WaitingForToken(tokens, backend, OUTGOING, arrived.append).begin()
    second = WaitingForToken(tokens, backend, OUTGOING, arrived.append).begin()
    first()
    assert server.withdrawn == 0
    second()
    assert server.withdrawn == 1
    third = WaitingForToken(tokens, backend, OUTGOING, arrived.append).begin()
    server.asked[1](GOOD)
    assert (len(server.asked), len(backend.asked)) == (2, 1)
    third()
    assert (backend.withdrawn, arrived) == (1, [])


def test_scopes_and_further_parameters_are_sent() -> None:
    settings = ClientCredentialsSettings(
        token_url="http://server/", scopes="a, b", endpoint_params={"audience": ("x", "y")}
    )
    body = token_request(settings, is_in_body=False).body
    assert body == b"grant_type=client_credentials&scope=a+b&audience=x&audience=y"


@pytest.mark.parametrize(
    ("body", "kind", "token"),
    [
        (b'{"access_token":"t","token_type":"bEARER"}', b"application/json", b"Bearer t"),
        (b'{"access_token":"t","token_type":"DPoP"}', b"", b"DPoP t"),
        (b"access_token=t&token_type=mac&expires_in=7", b"text/plain; charset=utf-8", b"MAC t"),
    ],
)
def test_tokens_are_read_as_go_reads_them(body: bytes, kind: bytes, token: bytes) -> None:
    assert read_token(HttpResponse(200, [(b"content-type", kind)], body))[0] == token


@given(
    st.binary()
    | st.dictionaries(
        st.sampled_from(["access_token", "token_type", "expires_in"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([]),
    ).map(lambda document: json.dumps(document).encode())
)
def test_no_response_raises_another_error(body: bytes) -> None:
    for kind in (b"application/json", b"text/plain"):
        try:
            read_token(HttpResponse(200, [(b"content-type", kind)], body))
        except GatewayError:
            continue
