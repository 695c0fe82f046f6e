"""What the body of a failing backend becomes, whatever its size."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.config.structs import Backend
from gateway.core.large import size_of
from gateway.encoding import decode_json, encode_json
from gateway.errors import BackendStatusError
from gateway.http.connection import HttpResponse
from gateway.http.responses import MAX_ERROR_BYTES, Interpret, build_interpret
from gateway.http.settings import HttpSettings
from tests.watchdog import outcome, watched

LARGE = 64 * 1024 * 1024
BYTES = [b"a", b"\xff", b"\x01", b'"', "é".encode()]


def failed(body: bytes) -> HttpResponse:
    return HttpResponse(400, [(b"content-type", b"text/x")], body)


def interpret(**settings: Any) -> Interpret:
    return build_interpret(Backend(), HttpSettings(**settings), False, False, decode_json)


def beginning(piece: bytes) -> str:
    return (piece * MAX_ERROR_BYTES)[:MAX_ERROR_BYTES].decode(errors="replace")


@pytest.mark.parametrize("piece", BYTES)
def test_the_beginning_of_a_large_failure_is_its_text(piece: bytes) -> None:
    answer = failed(piece * (LARGE // len(piece)))
    with watched(0.2):
        error = outcome(interpret(return_error_code=True), answer, "")
        assert isinstance(error, BackendStatusError)
        text = str(error).encode(errors="replace")
    assert (error.status, error.content_type) == (400, "text/x")
    assert text == beginning(piece).encode()


@pytest.mark.parametrize("piece", BYTES)
def test_the_beginning_of_a_large_failure_is_its_detail(piece: bytes) -> None:
    answer = failed(piece * (LARGE // len(piece)))
    with watched(0.2):
        response = interpret(return_error_details="b")(answer, "")
        text = encode_json(response.data)
    assert size_of(response.data) > MAX_ERROR_BYTES  # so that a helper writes it as XML
    details = {
        "http_status_code": 400,
        "http_body": beginning(piece),
        "http_body_encoding": "text/x",
    }
    assert json.loads(text) == {"error_b": details}
