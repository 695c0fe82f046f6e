"""Large responses are inspected in a helper process."""

from __future__ import annotations

import json

import pytest

from .gateways import Backends, Document, ask, backend, document, gateway

pytestmark = pytest.mark.anyio

ITEMS = [str(number) for number in range(20_000)]
PATIENT = "100s"
"""A helper starts late on a machine that has much to do."""
LARGE = json.dumps({"items": ITEMS}).encode()
COUNT = {"template": '{"n": {{ resp_body["items"] | length }}, "m": "{{ req_method }}"}'}
ITEM = {"properties": {"items": {"items": {"type": "string"}}}}
NUMBERS = {"properties": {"items": {"items": {"type": "integer"}}}}
FITTING: dict[str, tuple[Document, object]] = {
    "jmespath": ({"modifier/jmespath": {"expr": "{n: length(items)}"}}, {"n": 20_000}),
    "a list": ({"modifier/jmespath": {"expr": "items[:2]"}}, {"collection": ["0", "1"]}),
    "schema": ({"validation/response-json-schema": {"schema": ITEM}}, {"items": ITEMS}),
    "expression": (
        {"validation/cel": [{"check_expr": "resp_data.items.size() == 20000"}]},
        {"items": ITEMS},
    ),
    "template": ({"modifier/response-body-generator": COUNT}, {"n": 20_000, "m": "GET"}),
}
MANY_KEYS = """{ {%- for i in range(20001) %}"{{ i }}":1,{% endfor %}"a":1}"""
FAILING: dict[str, tuple[Document, str]] = {
    "jmespath": ({"modifier/jmespath": {"expr": "abs(items)"}}, "JMESPath"),
    "schema": (
        {"validation/response-json-schema": {"schema": NUMBERS}},
        "- at '': value does not match its schema",
    ),
    "expression": (
        {"validation/cel": [{"check_expr": "true || 'resp' == ''"}, {"check_expr": "!resp_data"}]},
        "request aborted by evaluator #1",
    ),
    "template": ({"modifier/response-body-generator": {"template": "{{ 1 / 0 }}"}}, "template"),
    "no JSON": (
        {"modifier/response-body-generator": {"template": "{"}},
        "template: its result is not JSON",
    ),
    "keys": (
        {"modifier/response-body-generator": {"template": MANY_KEYS}},
        "more than 20000 keys at its first level",
    ),
}


def configured(level: str, extra: Document) -> Document:
    if level == "backend":
        return document(backend(extra_config=extra), timeout=PATIENT)
    return document(extra_config=extra, timeout=PATIENT)


PLACES = [("backend", "ask"), ("backend", "later"), ("endpoint", "ask")]
"""Where a namespace is configured, and in which way its backend responds."""


@pytest.mark.parametrize(("level", "way"), PLACES)
@pytest.mark.parametrize(("extra", "expected"), FITTING.values(), ids=FITTING)
async def test_a_large_response_is_inspected_in_a_helper_process(
    way: str, level: str, extra: Document, expected: object, caplog: pytest.LogCaptureFixture
) -> None:
    backends = Backends({"/a": LARGE}, way)
    with caplog.at_level("DEBUG", "gateway.helpers"):
        async with gateway(backends, configured(level, extra)) as app:
            reply = await ask(app)
    assert (reply.status, reply.json()) == (200, expected)
    assert "helper process" in caplog.text
    assert [message.end for message in backends.messages] == ["acknowledged"]


@pytest.mark.parametrize(("level", "way"), PLACES[1:])
@pytest.mark.parametrize(("extra", "text"), FAILING.values(), ids=FAILING)
async def test_a_large_invalid_response_blocks_no_queue(
    way: str, level: str, extra: Document, text: str
) -> None:
    backends = Backends({"/a": LARGE}, way)
    async with gateway(backends, configured(level, extra)) as app:
        reply = await ask(app)
    assert reply.status == 500
    assert text in reply.body.decode()
    assert [message.end for message in backends.messages] == ["parked"]


LOOP_IN_LOOP = "[{% for a in resp_body.l %}{% for b in resp_body.l %}{% endfor %}{% endfor %}]"
EACH_WITH_EACH = "resp_data.l.map(a, resp_data.l.map(b, b)).size() == 80"
NESTED = {
    "template": {"modifier/response-body-generator": {"template": LOOP_IN_LOOP}},
    "expression": {"validation/cel": [{"check_expr": EACH_WITH_EACH}]},
}
PAIRS = b'{"l":[' + b",".join([b'"22"'] * 80) + b"]}"


@pytest.mark.parametrize(("level", "way"), [*PLACES, ("backend", "now")])
@pytest.mark.parametrize("extra", NESTED.values(), ids=NESTED)
async def test_nested_loops_make_a_smaller_response_count_as_large(
    way: str, level: str, extra: Document, caplog: pytest.LogCaptureFixture
) -> None:
    backends = Backends({"/a": PAIRS}, way)
    with caplog.at_level("DEBUG", "gateway.helpers"):
        async with gateway(backends, configured(level, extra)) as app:
            reply = await ask(app)
    assert reply.status == 200
    assert "helper process" in caplog.text


@pytest.mark.parametrize("way", ["ask", "later"])
async def test_a_large_response_that_is_not_inspected_in_time_blocks_no_queue(way: str) -> None:
    loops = (
        "{% for a in resp_body['items'] %}{% for b in resp_body['items'] %}{% endfor %}{% endfor %}"
    )
    extra = {"modifier/response-body-generator": {"template": loops}}
    backends = Backends({"/a": LARGE}, way)
    configuration = document(backend(extra_config=extra), timeout="200ms")
    async with gateway(backends, configuration) as app:
        reply = await ask(app)
    assert reply.status == 500
    assert [message.end for message in backends.messages] == ["parked"]


@pytest.mark.parametrize(
    ("output", "accept", "begin"),
    [
        ("xml", "", b"<doc><items>0</items>"),
        ("yaml", "", b'items:\n- "0"\n'),
        ("negotiate", "application/xml", b"<doc><items>0</items>"),
    ],
)
async def test_a_large_response_in_xml_or_yaml_is_written_in_a_helper_process(
    output: str, accept: str, begin: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    backends = Backends({"/a": LARGE})
    with caplog.at_level("DEBUG", "gateway.helpers"):
        async with gateway(backends, document(output_encoding=output)) as app:
            reply = await ask(app, accept=accept)
    assert reply.status == 200
    assert reply.body.startswith(begin)
    assert reply.body.count(b"19999") == 1
    assert "helper process" in caplog.text


async def test_a_large_string_is_written_in_a_helper_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    body = b"x" * (4 * 1024 * 1024) + b"\xff"
    backends = Backends({"/a": json.dumps({"content": body.decode(errors="replace")}).encode()})
    with caplog.at_level("DEBUG", "gateway.helpers"):
        async with gateway(backends, document(output_encoding="string")) as app:
            reply = await ask(app)
    assert reply.body == body.decode(errors="replace").encode()
    assert "helper process" in caplog.text


async def test_the_flatmap_of_a_large_response_runs_in_a_helper_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    moves = [{"type": "move", "args": ["items", "all"]}]
    backends = Backends({"/a": LARGE, "/b": b'{"b":1}'})
    extra = {"proxy": {"flatmap_filter": moves}}
    configuration = document(backend(), backend("/b"), extra_config=extra)
    with caplog.at_level("DEBUG", "gateway.helpers"):
        async with gateway(backends, configuration) as app:
            reply = await ask(app)
    assert reply.json() == {"all": ITEMS, "b": 1}
    assert "helper process" in caplog.text


@pytest.mark.parametrize(("level", "way"), [*PLACES, ("backend", "now")])
async def test_a_template_of_a_large_request_is_rendered_in_a_helper_process(
    way: str, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    template = "{{ req_method }} {{ req_body['items'] | length }}"
    extra = {"modifier/request-body-generator": {"template": template}}
    backends = Backends({"/a": b'{"a":1}'}, way)
    if level == "backend":
        configuration = document(
            backend(extra_config=extra, method="POST"), method="POST", timeout=PATIENT
        )
    else:
        configuration = document(extra_config=extra, method="POST", timeout=PATIENT)
    with caplog.at_level("DEBUG", "gateway.helpers"):
        async with gateway(backends, configuration) as app:
            reply = await ask(app, method="POST", body=LARGE)
            small = await ask(app, method="POST", body=b'{"items":[1]}')
    assert (reply.json(), small.json()) == ({"a": 1}, {"a": 1})
    assert [request.body for request in backends.asked] == [b"POST 20000", b"POST 1"]
    assert "helper process" in caplog.text


@pytest.mark.parametrize("way", ["ask", "later"])
async def test_a_large_request_that_a_template_fails_on_reaches_no_backend(way: str) -> None:
    extra = {"modifier/request-body-generator": {"template": "{{ 1 / 0 }}"}}
    backends = Backends({"/a": b'{"a":1}'}, way)
    configuration = document(
        backend(extra_config=extra, method="POST"), method="POST", timeout=PATIENT
    )
    async with gateway(backends, configuration) as app:
        reply = await ask(app, method="POST", body=LARGE)
    assert (reply.status, backends.asked) == (500, [])


@pytest.mark.parametrize("way", ["ask", "later"])
async def test_a_large_request_that_takes_too_long_reaches_no_backend(way: str) -> None:
    loop = "{% for each in req_body['items'] %}"
    template = loop + loop + "{% endfor %}{% endfor %}"
    extra = {"modifier/request-body-generator": {"template": template}}
    backends = Backends({"/a": b'{"a":1}'}, way)
    slow = backend(extra_config=extra, method="POST")
    configuration = document(slow, method="POST", timeout="200ms")
    async with gateway(backends, configuration) as app:
        reply = await ask(app, method="POST", body=LARGE)
    assert (reply.status, backends.asked) == (500, [])
