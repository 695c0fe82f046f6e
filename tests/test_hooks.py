"""What hooks are given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gateway.core.proxy import PARTS_FAILED, OutcomeWatcher, Request, Response
from gateway.hooks import GatewayError, Headers, HookRequest, HookResponse
from tests.watchdog import watched


def test_headers_are_found_in_any_letter_case() -> None:
    headers = Headers([(b"x-one", b"1"), (b"x-two", b"2"), (b"x-one", b"3")])
    assert headers["X-ONE"] == "1"
    assert headers.get_all("x-One") == ["1", "3"]
    assert "X-Two" in headers
    assert (list(headers), len(headers)) == (["x-one", "x-two"], 2)


def test_setting_a_header_replaces_all_of_its_values_and_add_keeps_them() -> None:
    headers = Headers([(b"x-one", b"1"), (b"x-one", b"2")])
    headers["X-One"] = "3"
    headers.add("X-One", "4")
    assert headers.get_all("x-one") == ["3", "4"]
    del headers["X-One"]
    assert dict(headers) == {}
    with pytest.raises(KeyError):
        del headers["x-one"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("a b", "1"), ("", "1"), ("a:", "1"), ("a", "1\r\nb: 2"), ("a", "\0"), ("a", "€")],
)
def test_a_value_that_no_header_can_have_is_refused(name: str, value: str) -> None:
    headers = Headers([])
    with pytest.raises(ValueError):  # noqa: PT011 - Unicode's is one of them
        headers[name] = value
    with pytest.raises(ValueError):  # noqa: PT011
        headers.add(name, value)
    assert not headers


@given(st.text(), st.text())
def test_no_header_can_contain_a_line_break(name: str, value: str) -> None:
    pairs: list[tuple[bytes, bytes]] = []
    try:
        Headers(pairs)[name] = value
    except ValueError:
        assert not pairs
    else:
        [pair] = pairs
        assert not {b"\r", b"\n", b"\0"} & {bytes([byte]) for byte in b"".join(pair)}


def test_a_document_is_decoded_and_the_original_response_is_not_changed() -> None:
    shared = {"a": Raw(b'{"b":[1,2.5]}'), "c": {"d": "e"}}
    view = HookResponse.of(Response(shared))
    assert view.data == {"a": {"b": [1, 2.5]}, "c": {"d": "e"}}
    view.data["c"]["d"] = "f"
    view.data["a"]["b"].append(3)
    assert view.finished().data == {"a": {"b": [1, 2.5, 3]}, "c": {"d": "f"}}
    assert shared == {"a": Raw(b'{"b":[1,2.5]}'), "c": {"d": "e"}}


def test_a_document_that_no_hook_reads_is_not_decoded() -> None:
    data = {"a": Raw(b"1.50")}
    view = HookResponse.of(Response(data))
    view.headers["x-one"] = "1"
    finished = view.finished()
    assert finished.data is data
    assert list(finished.headers) == [(b"x-one", b"1")]


def test_a_document_too_deep_for_python_is_a_failure() -> None:
    deep = Raw(b"[" * 5000 + b"]" * 5000)
    with pytest.raises(GatewayError, match="nested too deeply"):
        _ = HookResponse.of(Response({"a": deep})).data


def test_a_response_keeps_its_messages() -> None:
    class Message:
        shown_id = ""

        def sent(self) -> None: ...
        def acknowledge(self) -> None: ...
        def park(self) -> None: ...

        def watch(self, watcher: OutcomeWatcher) -> None: ...

        def give_back(self) -> None: ...

    message = Message()
    view = HookResponse.of(Response({}, PARTS_FAILED, (message,)))
    view.data = {"a": 1}
    view.is_complete = True
    finished = view.finished()
    assert (finished.messages, finished.has_failures) == ((message,), True)
    assert (finished.data, finished.is_complete) == ({"a": 1}, True)


def test_a_response_of_a_hook() -> None:
    made = HookResponse({"a": 1}, status=404, headers={"X-One": "1"}).finished()
    assert (made.data, made.status, list(made.headers)) == ({"a": 1}, 404, [(b"x-one", b"1")])
    assert HookResponse(body=b"as it is").finished().body == b"as it is"


def wrong() -> Iterator[tuple[str, object]]:
    yield "status", 99
    yield "status", "200"
    yield "data", [1]


@pytest.mark.parametrize(("name", "value"), list(wrong()))
def test_an_invalid_response_of_a_hook_is_refused(name: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        setattr(HookResponse(), name, value)


def test_a_request_is_changed_in_place() -> None:
    request = Request("GET", "/a", {"Id": "1"}, [(b"x-one", b"1")], b"a=1", b"body")
    view = HookRequest(request)
    view.headers["X-Two"] = "2"
    view.params["Id"] = "7"
    view.query_string = "b=2"
    view.body = b"other"
    assert list(request.headers) == [(b"x-one", b"1"), (b"x-two", b"2")]
    assert (request.params, request.query_string, request.body) == ({"Id": "7"}, b"b=2", b"other")
    assert (view.method, view.path, view.remote) == ("GET", "/a", "")


LARGE = {
    "lists": (b"[" + b"[]," * 19_998 + b"1]", b"[" + b"[]," * 5_000_000 + b"1]"),
    "objects": (b"[" + b"{}," * 19_998 + b"1]", b"[" + b"{}," * 5_000_000 + b"1]"),
    "keys": tuple(
        b"{" + b",".join(b'"%x":1' % number for number in range(count)) + b"}"
        for count in (39_990, 1_000_000)
    ),
    "escapes": tuple(b'"' + rb"\u00e9" * count + b'"' for count in (699_000, 10_000_000)),
    "UTF-8": tuple(b'"' + "é".encode() * count + b'"' for count in (2_090_000, 30_000_000)),
}
"""What is just small enough, and what is much too large."""


@pytest.mark.parametrize(("fits", "is_too_large"), LARGE.values(), ids=LARGE)
def test_a_document_is_decoded_in_time_or_refused(fits: bytes, is_too_large: bytes) -> None:
    view = HookResponse.of(Response({"a": Raw(fits), "b": Raw(b"1")}))
    with watched(0.2):
        assert view.data is not None
    view = HookResponse.of(Response({"a": Raw(is_too_large)}))
    with watched(0.2), pytest.raises(GatewayError, match="too large for a script or a hook"):
        _ = view.data


def test_the_bound_counts_all_parts_of_a_document_that_is_read() -> None:
    half = b"[" + b"1," * 20_100 + b"1]"
    assert HookResponse.of(Response({"a": Raw(half)})).data
    answer = Response({"a": Raw(half), "b": Raw(half)})
    view = HookResponse.of(answer)
    view.headers["x-one"] = "1"
    assert view.finished().data == answer.data
    with pytest.raises(GatewayError, match="40000 values"):
        _ = view.data
