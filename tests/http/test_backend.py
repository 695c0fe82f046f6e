"""HTTP backends behind an open gateway, on both async libraries."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest

from gateway import open_gateway

from .service import answering, message, serving

pytestmark = pytest.mark.anyio

BROKEN_GZIP = gzip.compress(b"{}", mtime=0)[:-6] + b"123456"
PATIENT = {"timeout": "100s"}
RETURN_TEXT = {"router": {"return_error_msg": True}}


def configuration(url: str, /, root: dict[str, Any] | None = None, **changes: Any) -> Any:
    """One endpoint ``/`` with one backend at ``url``; ``changes`` are the backend's."""
    backend = {"url_pattern": "/b", "host": [url], **changes}
    return {
        "version": 3,
        "timeout": "5s",
        "extra_config": RETURN_TEXT,
        "endpoints": [{"endpoint": "/", "backend": [backend]}],
        **(root or {}),
    }


@asynccontextmanager
async def asking(config: Any) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the gateway that runs this configuration."""
    async with open_gateway(config) as gateway:
        transport = httpx.ASGITransport(cast(Any, gateway.asgi))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield client


async def failure(script: bytes, *, stays_open: bool = True, **changes: Any) -> str:
    """What a client is told when a backend answers these bytes."""
    with serving(answering(script, stays_open=stays_open)) as service:
        async with asking(configuration(service.url, **changes)) as client:
            answer = await client.get("/")
    assert answer.status_code == 500
    return answer.text


async def test_an_answer_is_decoded_and_the_connection_used_again() -> None:
    with serving(answering(message(b'{"a": 1.50}'))) as service:
        async with asking(configuration(service.url)) as client:
            for _ in range(3):
                answer = await client.get("/")
                assert (answer.status_code, answer.text) == (200, '{"a":1.50}')
    assert service.accepted == 1
    assert len(service.requests) == 3


async def test_a_request_is_what_krakend_sends() -> None:
    with serving(answering(message())) as service:
        async with asking(configuration(service.url)) as client:
            await client.get("/", headers={"Accept": "x/y", "X-Other": "1"})
    lines = service.requests[0].decode().split("\r\n")
    assert lines[:2] == ["GET /b HTTP/1.1", f"Host: 127.0.0.1:{service.port}"]
    names = [line.partition(":")[0] for line in lines[2:-2]]
    assert names == ["X-Forwarded-For", "X-Forwarded-Host", "User-Agent", "Accept-Encoding"]


async def test_three_backends_are_called_at_once() -> None:
    with serving(answering(message(b'{"a": 1}'))) as service:
        config = configuration(service.url)
        backends = [{"url_pattern": "/", "host": [service.url], "group": name} for name in "abc"]
        config["endpoints"][0]["backend"] = backends
        async with asking(config) as client:
            answer = await client.get("/")
    assert answer.json() == {name: {"a": 1} for name in "abc"}
    assert service.accepted == 3


async def test_a_client_that_asks_for_keep_alive_does_not_speak_to_the_backend() -> None:
    with serving(answering(message())) as service:
        config = configuration(service.url)
        config["endpoints"][0]["input_headers"] = ["*"]
        headers = {
            "Connection": "X-Mine, keep-alive",
            "X-Mine": "1",
            "TE": "trailers",
            "X-Yes": "1",
        }
        async with asking(config) as client:
            await client.get("/", headers=headers)
    request = service.requests[0].lower()
    assert b"x-yes: 1" in request
    assert not any(name in request for name in (b"x-mine", b"connection:", b"te: "))


async def test_a_gzipped_answer_is_unpacked() -> None:
    packed = message(gzip.compress(b'{"a":1}'), "200 OK", "Content-Encoding: gzip")
    with serving(answering(packed)) as service:
        async with asking(configuration(service.url)) as client:
            assert (await client.get("/")).json() == {"a": 1}
            config = configuration(service.url)
            config["endpoints"][0]["output_encoding"] = "no-op"
        async with asking(config) as client:
            answer = await client.get("/")
    assert answer.content == b'{"a":1}'
    assert "content-encoding" not in answer.headers


async def test_a_gzip_bomb_is_refused() -> None:
    bomb = message(gzip.compress(b" " * 2_000_000), "200 OK", "Content-Encoding: gzip")
    limit = {"gateway": {"max_answer_bytes": 100_000}, **RETURN_TEXT}
    assert "more than 100000 bytes" in await failure(bomb, root={"extra_config": limit})


@pytest.mark.parametrize(
    "answer",
    [
        message(b" " * 2_000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + b" " * 0x400 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 2_000,
    ],
)
async def test_an_oversized_answer_is_refused(answer: bytes) -> None:
    limit = {"gateway": {"max_answer_bytes": 1_000}, **RETURN_TEXT}
    assert "more than 1000 bytes" in await failure(answer, root={"extra_config": limit})


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "EOF"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "malformed response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{", "unexpected EOF"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", "unexpected EOF"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "switched"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_100_000, "headers of the response are too large"),
        (message(b"{}", "200 OK", *["X: 1"] * 1_000), "more than 1000 header fields"),
        (b"HTTP/1.1 200 OK\r\n" + b"X:\r\n" * 1_001 + b"\r\n", "more than 1000 header fields"),
        (message(b"{}", "999 Odd"), "invalid status code 999 [GET /b]: http://"),
    ],
)
async def test_a_broken_answer_is_a_clear_failure(answer: bytes, text: str) -> None:
    assert text in await failure(answer, stays_open=False)


async def test_a_refused_connection_is_a_clear_failure() -> None:
    with serving(answering(b"")) as service:
        pass
    async with asking(configuration(service.url)) as client:
        answer = await client.get("/")
    assert answer.status_code == 500
    place = service.url.removeprefix("http://")
    text = f'Get "{service.url}/b": dial tcp {place}: connect: connection refused'
    assert answer.text == text


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (message(b""), "EOF"),
        (message(b"<html>"), "invalid character '<' looking for beginning of value"),
        (
            message(b"[1]"),
            "json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{", "unexpected EOF"),
        (message(b"no gzip", "200 OK", "Content-Encoding: gzip"), "gzip: invalid header"),
        (
            message(
                gzip.compress(b"{}", mtime=0)[:-6] + b"123456", "200 OK", "Content-Encoding: gzip"
            ),
            "gzip: invalid checksum",
        ),
    ],
)
async def test_an_undecodable_response_is_reported_in_the_words_of_go_without_the_url(
    answer: bytes, text: str
) -> None:
    assert await failure(answer, stays_open=False) == text


async def test_the_whole_answer_of_a_no_op_backend_goes_into_the_next_request() -> None:
    raw = b'a "text", no JSON'
    with serving(answering(message(raw))) as first, serving(answering(message(b"{}"))) as second:
        template = {"template": "<{{ req_params.Resp0 }}>", "content_type": "text/plain"}
        config = configuration(first.url, encoding="no-op")
        config["endpoints"][0]["backend"].append(
            {
                "host": [second.url],
                "url_pattern": "/c",
                "method": "POST",
                "extra_config": {"modifier/request-body-generator": template},
            }
        )
        proxy = {"sequential": True, "sequential_propagated_params": ["resp0"]}
        config["endpoints"][0]["extra_config"] = {"proxy": proxy}
        async with asking(config) as client:
            assert (await client.get("/")).status_code == 200
    [request] = second.requests
    assert request.endswith(b"\r\n\r\n<" + raw + b">")


RETURN_CODE = {"backend/http": {"return_error_code": True}}


async def test_several_backends_that_fail_are_500_with_all_their_texts() -> None:
    missing = answering(message(b"no such thing", "404 Not Found", "Content-Type: text/x"))
    with serving(missing) as service:
        config = configuration(service.url, extra_config=RETURN_CODE)
        config["endpoints"][0]["backend"] *= 2
        async with asking(config) as client:
            answer = await client.get("/")
            assert (answer.status_code, answer.text) == (500, "no such thing\nno such thing")
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_the_first_of_a_sequence_that_fails_keeps_its_status() -> None:
    missing = answering(message(b"no such thing", "404 Not Found", "Content-Type: text/x"))
    with serving(missing) as service:
        config = configuration(service.url, extra_config=RETURN_CODE)
        config["endpoints"][0]["backend"] *= 2
        config["endpoints"][0]["extra_config"] = {"proxy": {"sequential": True}}
        async with asking(config) as client:
            answer = await client.get("/")
            assert (answer.status_code, answer.text) == (404, "no such thing")
            assert answer.headers["content-type"] == "text/x"


async def test_a_document_that_was_complete_before_the_answer_broke_off_counts() -> None:
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"a":1}'
    with serving(answering(answer, stays_open=False)) as service:
        async with asking(configuration(service.url)) as client:
            assert (await client.get("/")).json() == {"a": 1}


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    answer = b'HTTP/1.0 200 OK\r\n\r\n{"a":1}'
    with serving(answering(answer, stays_open=False)) as service:
        async with asking(configuration(service.url)) as client:
            assert (await client.get("/")).json() == {"a": 1}


async def test_bytes_after_a_response_belong_to_no_request() -> None:
    with serving(answering(message(b'{"a":1}') + message(b'{"evil":1}'))) as service:
        async with asking(configuration(service.url)) as client:
            for _ in range(2):
                assert (await client.get("/")).json() == {"a": 1}
    assert service.accepted == 2


async def test_interim_answers_and_trailers_are_passed_over() -> None:
    answer = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nX-A: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Trailer: 1\r\n\r\n"
    )
    with serving(answering(answer)) as service:
        config = configuration(service.url)
        config["endpoints"][0]["output_encoding"] = "no-op"
        async with asking(config) as client:
            answered = await client.get("/")
            await client.get("/")
    assert answered.content == b"{}"
    assert answered.headers["x-a"] == "1"
    assert not {"link", "x-trailer", "transfer-encoding"} & answered.headers.keys()
    assert service.accepted == 1


async def test_no_op_passes_status_headers_and_body() -> None:
    answer = message(b"\xff\x00", "418 Pot", "Content-Type: a/b", "Set-Cookie: 1", "Set-Cookie: 2")
    with serving(answering(answer)) as service:
        config = configuration(service.url)
        config["endpoints"][0]["output_encoding"] = "no-op"
        async with asking(config) as client:
            answered = await client.get("/")
    assert (answered.status_code, answered.content) == (418, b"\xff\x00")
    assert answered.headers.get_list("set-cookie") == ["1", "2"]


async def test_an_answer_to_head_has_no_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\nX-A: 1\r\n\r\n"
    with serving(answering(answer)) as service:
        config = configuration(service.url, method="HEAD")
        config["endpoints"][0]["output_encoding"] = "no-op"
        async with asking(config) as client:
            answered = await client.get("/")
    assert (answered.status_code, answered.headers["x-a"]) == (200, "1")


async def test_hosts_are_called_in_turn() -> None:
    with serving(answering(message())) as one, serving(answering(message())) as other:
        config = configuration(one.url, host=[one.url, other.url])
        async with asking(config) as client:
            for _ in range(4):
                await client.get("/")
    assert (len(one.requests), len(other.requests)) == (2, 2)


async def test_a_login_in_a_host_is_sent_and_never_shown() -> None:
    with serving(answering(message(b"{}", "500 No"))) as service:
        host = service.url.replace("//", "//me:s%40cret@")
        config = configuration(host, disable_host_sanitize=True)
        async with asking(config) as client:
            answer = await client.get("/")
    assert b"Authorization: Basic bWU6c0BjcmV0" in service.requests[0]
    assert "cret" not in answer.text


async def test_a_deflate_body_is_passed_on_as_it_is() -> None:
    packed = zlib.compress(b"{}")
    with serving(answering(message(packed, "200 OK", "Content-Encoding: deflate"))) as service:
        config = configuration(service.url)
        config["endpoints"][0]["output_encoding"] = "no-op"
        async with asking(config) as client, client.stream("GET", "/") as answer:
            assert b"".join([part async for part in answer.aiter_raw()]) == packed


async def test_text_that_breaks_off_is_no_answer() -> None:
    short = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
    assert "unexpected EOF" in await failure(short, stays_open=False, encoding="string")


async def test_no_op_in_an_endpoint_with_another_output_contributes_nothing() -> None:
    for status in ("200 OK", "404 Not Found", "204 No Content"):
        with serving(answering(message(b"x" * (status[0:3] != "204"), status))) as service:
            async with asking(configuration(service.url, encoding="no-op")) as client:
                answer = await client.get("/")
        assert (answer.status_code, answer.text) == (200, "{}")
        assert answer.headers["x-krakend-completed"] == "false"


async def test_a_pattern_that_ends_with_a_question_mark_gets_the_query_behind_it() -> None:
    with serving(answering(message())) as service:
        config = configuration(service.url, url_pattern="/b?")
        config["endpoints"][0]["input_query_strings"] = ["a"]
        async with asking(config) as client:
            await client.get("/", params={"a": "1"})
    assert service.requests[0].startswith(b"GET /b?a=1 HTTP/1.1")


async def test_blanks_behind_a_header_are_not_part_of_it() -> None:
    with serving(answering(message(b"{}", "200 OK", "X-A: 1 \t"))) as service:
        config = configuration(service.url)
        config["endpoints"][0]["output_encoding"] = "no-op"
        async with asking(config) as client:
            assert (await client.get("/")).headers["x-a"] == "1"


async def test_a_large_answer_is_decoded_in_a_helper_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "gateway.helpers")
    large = b"<a>%b</a>" % (b"<b/>" * 20_000)
    root = PATIENT
    with serving(answering(message(large))) as service:
        async with asking(configuration(service.url, root, encoding="xml", group="g")) as client:
            answer = await client.get("/")
    assert answer.json() == {"g": {"a": {"b": [""] * 20_000}}}
    assert "helper process" in caplog.text


async def test_a_large_answer_that_cannot_be_decoded_is_a_failure() -> None:
    script = message(b"<a>%b" % (b"<b/>" * 10_000))
    assert "not XML" in await failure(script, root=PATIENT, encoding="xml")


@pytest.mark.parametrize("size", [3_000_000, 20_000_000])
async def test_a_gzipped_answer_of_any_size_is_unpacked(size: int) -> None:
    body = b'{"a":"%b"}' % (b" " * size)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    packed = gzip.compress(body, mtime=0)
    with serving(answering(head % len(packed) + packed)) as service:
        async with asking(configuration(service.url, PATIENT)) as client:
            answer = await client.get("/")
    assert (answer.status_code, answer.content) == (200, body)


async def test_a_gzipped_answer_that_becomes_too_large_is_a_failure() -> None:
    packed = gzip.compress(bytes(65 * 1024 * 1024), mtime=0)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    text = await failure(head % len(packed) + packed, root=PATIENT)
    assert text == "the response has more than 67108864 bytes"
