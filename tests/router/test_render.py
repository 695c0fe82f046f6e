"""Responses and failures as status, headers and body."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from gateway.config.structs import Endpoint, RouterSettings
from gateway.core.asgi import AsgiResponse
from gateway.core.proxy import COMPLETE, INCOMPLETE, Request, Response
from gateway.errors import (
    BrokerUnavailable,
    DeadlineExceeded,
    GatewayError,
    OutcomeUnknown,
    QueueEmpty,
    Undecodable,
    Unroutable,
)
from gateway.router.render import build_render, build_render_error

VERSION = (b"x-krakend", b"Version 1")
JSON = b"application/json; charset=utf-8"
TEXT = b"text/plain; charset=utf-8"


def rendered(response: Response, accept: bytes | None = None, **keys: object) -> AsgiResponse:
    render = build_render(Endpoint(**keys), VERSION)  # type: ignore[arg-type]
    headers = [] if accept is None else [(b"accept", accept)]
    return render(response, Request("GET", "/", {}, headers))


def failed(
    error: GatewayError, krakend_statuses: bool = False, return_error_msg: bool = False
) -> AsgiResponse:
    router = RouterSettings(return_error_msg=return_error_msg)
    return build_render_error(router, VERSION, krakend_statuses)(error)


def test_complete_answer_may_be_cached() -> None:
    answer = rendered(Response({"a": Raw(b"1.50")}), cache_ttl=300.0)
    assert answer == (
        200,
        (
            (b"content-type", JSON),
            VERSION,
            (b"x-krakend-completed", b"true"),
            (b"cache-control", b"public, max-age=300"),
        ),
        b'{"a":1.50}',
    )


@pytest.mark.parametrize(
    ("response", "body"),
    [
        (Response({"a": 1}, INCOMPLETE), b'{"a":1}'),
        (Response({}), b"{}"),
        (Response({}, INCOMPLETE), b"{}"),
        (Response(None, INCOMPLETE), b"null"),
    ],
)
def test_answer_that_is_partial_or_empty_is_not_completed_and_not_cached(
    response: Response, body: bytes
) -> None:
    answer = rendered(response, cache_ttl=300.0)
    headers = dict(answer.headers)
    assert (answer.status, answer.body) == (200, body)
    assert headers[b"x-krakend-completed"] == b"false"
    assert b"cache-control" not in headers


def test_publish_is_completed_and_never_cached() -> None:
    answer = rendered(Response(), cache_ttl=300.0)
    headers = dict(answer.headers)
    assert (answer.status, answer.body) == (200, b"{}")
    assert headers[b"x-krakend-completed"] == b"true"
    assert b"cache-control" not in headers


def test_status_of_a_response_counts() -> None:
    assert rendered(Response({"a": 1}, status=202)).status == 202


def test_status_without_a_body_has_none() -> None:
    answer = rendered(Response(status=204))
    assert answer == (204, [VERSION, (b"x-krakend-completed", b"true")], b"")


@pytest.mark.parametrize(
    ("encoding", "data", "content_type", "body"),
    [
        ("negotiate", {"a": 1}, JSON, b'{"a":1}'),
        ("nobody-knows-it", {"a": 1}, JSON, b'{"a":1}'),
        ("json-collection", {"collection": [Raw(b"1"), Raw(b"2")]}, JSON, b"[1,2]"),
        ("json-collection", {"collection": Raw(b'{"x":1}')}, JSON, b'{"x":1}'),
        ("json-collection", {"other": 1}, JSON, b"[]"),
        ("string", {"content": "just té"}, TEXT, "just té".encode()),
        ("string", {"content": Raw(b'"a\\nb"')}, TEXT, b"a\nb"),
        ("string", {"content": Raw(b"5")}, TEXT, b""),
        ("string", {"content": Raw(b"[" * 5_000)}, TEXT, b""),
        ("string", {"a": 1}, TEXT, b""),
        ("xml", {"a": Raw(b"1.50")}, b"application/xml", b"<a>1.50</a>"),
        ("yaml", {"a": Raw(b'"b"')}, b"application/yaml; charset=utf-8", b"a: b\n"),
    ],
)
def test_output_encodings(
    encoding: str, data: dict[str, object], content_type: bytes, body: bytes
) -> None:
    answer = rendered(Response(data), output_encoding=encoding)
    assert (answer.headers[0], answer.body) == ((b"content-type", content_type), body)


XML = b"application/xml"
YAML = b"application/yaml; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, JSON),
        (b"", JSON),
        (b" , ", JSON),
        (b"application/json", JSON),
        (b"application/xml", XML),
        (b"application/x-yaml", YAML),
        (b"text/plain", YAML),
        (b"application/yaml", JSON),
        (b"text/xml", JSON),
        (b"image/png", JSON),
        (b"image/png, application/x-yaml, application/json", YAML),
        (b"application/xml;q=0.1,application/json", XML),
        (b"text/*", YAML),
        (b"application/*", JSON),
        (b"*/*", JSON),
        (b"application/x", XML),
        (b"application/xmlx", JSON),
        (b"*", JSON),
    ],
)
def test_negotiation_takes_the_first_type_that_is_offered(
    accept: bytes | None, content_type: bytes
) -> None:
    bodies = {JSON: b'{"a":"b"}', XML: b"<a>b</a>", YAML: b"a: b\n"}
    answer = rendered(Response({"a": "b"}), accept, output_encoding="negotiate")
    assert (answer.headers[0], answer.body) == (
        (b"content-type", content_type),
        bodies[content_type],
    )


def test_negotiated_answers_may_be_cached_and_partial_like_others() -> None:
    keys = {"output_encoding": "negotiate", "cache_ttl": 60.0}
    for is_complete, told in ((True, b"true"), (False, b"false")):
        answer = rendered(
            Response({"a": "b"}, COMPLETE if is_complete else INCOMPLETE), b"text/plain", **keys
        )
        headers = dict(answer.headers)
        assert headers[b"x-krakend-completed"] == told
        assert (b"cache-control" in headers) == is_complete


@pytest.mark.parametrize("encoding", ["json", "xml", "yaml"])
def test_an_answer_nested_too_deeply_is_a_failure(encoding: str) -> None:
    nested: dict[str, object] = {}
    for _ in range(100_000):
        nested = {"a": nested}
    try:
        with pytest.raises(GatewayError, match="nested too deeply"):
            rendered(Response(nested), output_encoding=encoding)
    finally:
        while nested:  # or else Python takes them apart by recursion
            nested = nested.pop("a")  # type: ignore[assignment]


def test_output_encodings_have_an_answer_to_no_document() -> None:
    bodies = {
        "json": b"null",
        "json-collection": b"[]",
        "string": b"",
        "xml": b"<doc/>",
        "yaml": b"{}\n",
    }
    for encoding, body in bodies.items():
        assert rendered(Response(None, INCOMPLETE), output_encoding=encoding).body == body


@pytest.mark.parametrize(
    ("status", "told", "expected"),
    [
        (200, (), [b"public, max-age=300"]),
        (200, ((b"cache-control", b"no-store"),), [b"no-store"]),
        (404, (), []),
    ],
)
def test_no_op_with_data_is_completed_and_may_be_cached(
    status: int, told: Any, expected: list[bytes]
) -> None:
    passed = Response({"static": 1}, body=b"raw", headers=told, status=status)
    answer = rendered(passed, output_encoding="no-op", cache_ttl=300.0)
    headers = list(answer.headers)
    assert (b"x-krakend-completed", b"true") in headers
    assert [value for name, value in headers if name == b"cache-control"] == expected


def test_no_op_passes_body_type_and_status_through_and_is_not_completed() -> None:
    passed = Response(
        body=b"\x00raw", headers=[(b"content-type", b"image/x"), (b"x-one", b"1")], status=404
    )
    assert rendered(passed, output_encoding="no-op", cache_ttl=300.0) == (
        404,
        [
            VERSION,
            (b"x-krakend-completed", b"false"),
            (b"content-type", b"image/x"),
            (b"x-one", b"1"),
        ],
        b"\x00raw",
    )


def test_no_op_without_a_body_is_empty() -> None:
    assert rendered(Response(), output_encoding="no-op").body == b""
    for status, keeps_type in ((204, True), (304, False)):  # as KrakenD's server does it
        typed = Response(body=b"", status=status, headers=[(b"content-type", b"text/plain")])
        answer = rendered(typed, output_encoding="no-op")
        assert (b"content-type" in dict(answer.headers)) is keeps_type


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"\x00", b"\x7f"])
def test_no_op_leaves_out_a_header_that_would_break_the_head(value: bytes) -> None:
    answer = rendered(Response(headers=[(b"content-type", value)]), output_encoding="no-op")
    assert b"content-type" not in dict(answer.headers)


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 101, 199, 1000])
def test_a_status_that_no_answer_has_is_a_failure(status: int) -> None:
    for encoding in ("json", "no-op"):
        with pytest.raises(GatewayError, match=f"^{status} is no status of a response$"):
            rendered(Response({"a": 1}, body=b"", status=status), output_encoding=encoding)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Undecodable("no JSON"), 502),
        (OutcomeUnknown("not confirmed"), 504),
        (Unroutable("no queue takes it"), 422),
        (BrokerUnavailable("away"), 503),
        (DeadlineExceeded(), 500),
        (GatewayError("anything"), 500),
    ],
)
def test_failure_has_its_status_and_no_body(error: GatewayError, status: int) -> None:
    answer = failed(error)
    headers = dict(answer.headers)
    assert (answer.status, answer.body) == (status, b"")
    assert headers[b"x-krakend-completed"] == b"false"
    assert b"content-type" not in headers
    assert headers.get(b"retry-after") == (b"1" if status == 503 else None)
    as_krakend = failed(error, krakend_statuses=True)
    assert as_krakend.status == 500
    assert b"retry-after" not in dict(as_krakend.headers)


def test_failure_has_its_text_where_the_configuration_wants_it() -> None:
    answer = failed(DeadlineExceeded(), return_error_msg=True)
    assert dict(answer.headers)[b"content-type"] == TEXT
    assert answer.body == b"context deadline exceeded"
    assert failed(GatewayError("\ud800"), return_error_msg=True).body == b"?"


@pytest.mark.parametrize("return_error_msg", [True, False])
def test_empty_queue_is_204_without_a_body(return_error_msg: bool) -> None:
    answer = failed(QueueEmpty(), return_error_msg=return_error_msg)
    assert answer == (204, [VERSION, (b"x-krakend-completed", b"false")], b"")
    assert failed(QueueEmpty(), krakend_statuses=True).status == 500


def test_empty_queue_has_an_empty_document_where_its_status_has_a_body() -> None:
    answer = failed(QueueEmpty(status=200))
    assert (answer.status, answer.body) == (200, b"{}")
    assert dict(answer.headers)[b"content-type"] == JSON
    assert failed(QueueEmpty(status=404)).body == b""
