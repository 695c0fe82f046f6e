"""What later backends of a sequence get from earlier answers."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from gateway.amqp.settings import ProducerSettings
from gateway.config.structs import Backend
from gateway.core.proxy import Response
from gateway.core.sequence import (
    MAX_SEARCHED,
    MAX_TEXT,
    build_propagations,
    propagated,
    references,
)
from gateway.encoding import decode_json
from gateway.errors import GatewayError
from tests.watchdog import outcome, watched

ANSWER = rb"""{"id": 5, "name": "ann", "f": 1.50, "big": 12345678901234567890, "t": true, "n": null,
"l": [1, "two", 3.0, null], "e": [], "o": {"id": 6, "p": {"q": "d\u00e9ep"}}, "s": "",
"a-b": "dash", "deep": [[1]], "objects": [{"a": 1}]}"""


def filled(url_pattern: str, *names: str, answer: Any = None) -> dict[str, str]:
    _, fill = build_propagations([Backend(), Backend(url_pattern=url_pattern)], names)
    params = {"Id": "of the endpoint"}
    fill(params, [Response(decode_json(ANSWER) if answer is None else answer)])
    del params["Id"]
    return params


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("id", "5"),
        ("name", "ann"),
        ("f", "1.50"),
        ("big", "12345678901234567890"),
        ("t", "true"),
        ("n", "<nil>"),
        ("l", "1,two,3.0,<nil>"),
        ("e", ""),
        ("s", ""),
        ("o.id", "6"),
        ("o.p.q", "déep"),
        ("a-b", "dash"),
    ],
)
def test_a_value_becomes_text_as_go_prints_it(field: str, text: str) -> None:
    assert filled(f"/x/{{resp0_{field}}}?a=1") == {f"Resp0_{field}": text}


@pytest.mark.parametrize(
    "field", ["nosuch", "o", "o.nosuch", "name.x", "l.0", "deep", "objects", "o.p.q.r"]
)
def test_a_path_with_a_hole_is_not_asked_for(field: str) -> None:
    with pytest.raises(GatewayError, match=f"no value for {{Resp0_{field}}}"):
        filled(f"/x/{{resp0_{field}}}")
    assert filled("/x", f"resp0_{field}") == {}


@pytest.mark.parametrize("key", ["{resp0_name}", "resp0_name", "Resp0_name"])
def test_what_only_the_settings_of_a_backend_name_is_there_and_may_be_missing(key: str) -> None:
    producer = ProducerSettings(exchange="ex", routing_key=key, reply_to_key="{resp0_nosuch}")
    backend = Backend(extra_config={"backend/amqp/producer": producer})
    _, fill = build_propagations([Backend(), backend], [])
    params: dict[str, str] = {}
    fill(params, [Response(decode_json(ANSWER))])
    assert params == {"Resp0_name": "ann"}


def test_values_that_are_decoded_already_become_text_too() -> None:
    answer = {"a": "text", "b": True, "c": None, "d": ["x", 1.5, False], "e": 7}
    assert filled("/{resp0_a}{resp0_b}{resp0_c}{resp0_d}{resp0_e}", answer=answer) == {
        "Resp0_a": "text",
        "Resp0_b": "true",
        "Resp0_c": "<nil>",
        "Resp0_d": "x,1.5,false",
        "Resp0_e": "7",
    }


def test_propagated_values_are_there_for_every_later_backend() -> None:
    first, second, third = build_propagations([Backend()] * 3, ["resp0_id", "Resp1_x"])
    params: dict[str, str] = {}
    first(params, [])
    assert params == {}
    answers = [Response(decode_json(ANSWER)), Response({"x": "y"})]
    second(params, answers[:1])
    assert params == {"Resp0_id": "5"}
    third(params, answers)
    assert params == {"Resp0_id": "5", "Resp1_x": "y"}


def test_an_answer_that_is_no_document_has_no_values() -> None:
    _, fill = build_propagations([Backend(), Backend(url_pattern="/{resp0_a}")], [])
    with pytest.raises(GatewayError):
        fill({}, [Response()])


def test_references_are_found_in_patterns_and_in_names() -> None:
    assert list(references("/{id}/{resp0_a}?x={Resp12_b.c-d}&{resp_x}")) == [
        (0, "a"),
        (12, "b.c-d"),
    ]
    assert list(propagated(["resp0_a", "nothing", "Resp12"])) == [(0, "a"), (12, "")]


def test_the_whole_answer_of_a_no_op_backend_is_propagated() -> None:
    _, fill = build_propagations([Backend()] * 2, ["resp0"])
    params: dict[str, str] = {}
    fill(params, [Response({}, body=b'a "text" \xff')])
    assert params == {"Resp0": 'a "text" \ufffd'}


def test_an_answer_that_is_a_document_is_not_propagated_whole() -> None:
    _, fill = build_propagations([Backend()] * 2, ["resp0"])
    params: dict[str, str] = {}
    fill(params, [Response({"a": 1})])
    assert params == {}


def object_of(size: int) -> bytes:
    """An object of so many bytes, about; its keys are short."""
    return b"{" + b",".join(b'"%07x":1' % number for number in range(size // 12)) + b',"b":"x"}'


def test_a_value_is_found_in_a_large_object() -> None:
    answer = decode_json(b'{"a":' + object_of(MAX_SEARCHED - 100) + b"}")
    with watched(0.2):
        assert filled("/{resp0_a.b}", answer=answer) == {"Resp0_a.b": "x"}


def test_the_last_of_equal_keys_is_found_and_escapes_are_read() -> None:
    answer = decode_json(rb'{"a":{"b":1,"c":{"b":2},"\u0062":3,"type":null}}')
    assert filled("/{resp0_a.b}{resp0_a.type}", answer=answer) == {
        "Resp0_a.b": "3",
        "Resp0_a.type": "<nil>",
    }


@pytest.mark.parametrize("names", [["resp0_a.b"], ["resp0_a.b", "resp0_a.c", "resp0_a.d"]])
def test_an_object_that_is_too_large_to_be_searched_is_refused_in_time(names: list[str]) -> None:
    _, fill = build_propagations([Backend(), Backend()], names)
    answer = decode_json(b'{"a":' + object_of(2 * MAX_SEARCHED // len(names)) + b"}")
    error = outcome(fill, {}, [Response(answer)])
    assert isinstance(error, GatewayError)
    assert f"more than {MAX_SEARCHED} bytes" in str(error)


LARGE_VALUES = {
    "a text": b'"' + b"x" * MAX_TEXT + b'"',
    "digits": b"1" * (MAX_TEXT + 1),
    "a list": b"[" + b"1," * 8_000_000 + b"1]",
}


@pytest.mark.parametrize("value", LARGE_VALUES.values(), ids=LARGE_VALUES)
def test_a_value_that_is_too_large_for_a_parameter_is_refused_in_time(value: bytes) -> None:
    _, fill = build_propagations([Backend(), Backend(url_pattern="/{resp0_a}")], [])
    error = outcome(fill, {}, [Response(decode_json(b'{"a":%b}' % value))])
    assert isinstance(error, GatewayError)
    assert f"{{Resp0_a}}: the value has more than {MAX_TEXT} bytes" in str(error)


def test_a_large_body_of_no_op_is_no_parameter() -> None:
    _, fill = build_propagations([Backend()] * 2, ["resp0"])
    error = outcome(fill, {}, [Response({}, body=b"\xff" * (MAX_TEXT + 1))])
    assert isinstance(error, GatewayError)
    assert "{Resp0}: the value has more than" in str(error)


def test_a_large_object_has_no_text_as_a_small_one() -> None:
    answer = decode_json(b'{"a":' + object_of(MAX_SEARCHED) + b"}")
    assert filled("/x", "resp0_a", answer=answer) == {}


@pytest.mark.parametrize(
    "value", [b"[" * 90_000 + b"]" * 90_000, b'{"b":' * 90_000 + b"1" + b"}" * 90_000]
)
def test_a_document_that_is_nested_too_deeply_is_refused(value: bytes) -> None:
    _, fill = build_propagations([Backend()] * 2, ["resp0_a.c"])
    error = outcome(fill, {}, [Response({"a": Raw(b'{"b":%b}' % value)})])
    assert isinstance(error, GatewayError)
    assert "nested too deeply" in str(error)
