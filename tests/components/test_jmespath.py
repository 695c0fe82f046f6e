"""Responses as a JMESPath expression selects them, through a whole gateway."""

from __future__ import annotations

import json
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.jmespath import JmespathSettings, build_endpoint_jmespath, verify_jmespath
from gateway.config.structs import Endpoint, Service
from gateway.core.bridge import AsyncioSide
from gateway.core.component import Assembly, Catalog
from gateway.core.pipe import coroutine_of
from gateway.core.proxy import Branch, Request, Response
from gateway.encoding import decode_safejson
from gateway.errors import ModifierFailure

from .gateways import Backends, Document, ask, backend, document, gateway, refusal

pytestmark = pytest.mark.anyio

NAMESPACE = "modifier/jmespath"
STUDENTS = b'{"students":[{"name":"Bill","age":23},{"name":"Mary","age":16}],"n":1.5}'
ASSEMBLY = Assembly(Service(), Catalog(), cast(AsyncioSide, None))


@pytest.mark.parametrize(
    ("expr", "result"),
    [
        ("students[?age > `18`].name", {"collection": ["Bill"]}),
        ("students[0]", {"name": "Bill", "age": 23}),
        ("students[0].name", {"content": "Bill"}),
        ("{ n: n, count: length(students) }", {"n": 1.5, "count": 2}),
        ("nobody", {"content": None}),
    ],
)
@pytest.mark.parametrize("level", ["endpoint", "backend"])
async def test_the_response_is_what_the_expression_selects(
    level: str, expr: str, result: Document
) -> None:
    extra = {NAMESPACE: {"expr": expr}}
    on_backend = backend(extra_config=extra if level == "backend" else {})
    configuration = document(on_backend, extra_config=extra if level == "endpoint" else {})
    async with gateway(Backends({"/a": STUDENTS}), configuration) as app:
        reply = await ask(app)
    assert (reply.status, reply.json()) == (200, result)
    assert reply.headers["x-krakend-completed"] == "true"


async def test_a_list_stays_a_list_with_json_collection() -> None:
    extra = {NAMESPACE: {"expr": "students[].name"}}
    configuration = document(extra_config=extra, output_encoding="json-collection")
    async with gateway(Backends({"/a": STUDENTS}), configuration) as app:
        assert (await ask(app)).json() == ["Bill", "Mary"]


async def test_with_no_op_the_body_is_replaced() -> None:
    extra = {NAMESPACE: {"expr": "students[].name"}}
    configuration = document(extra_config=extra, output_encoding="no-op")
    async with gateway(Backends({"/a": STUDENTS}), configuration) as app:
        reply = await ask(app)
    assert reply.body == b'["Bill","Mary"]'
    assert reply.headers["content-length"] == "15"
    assert reply.headers["x-one"] == "1"


async def test_partial_responses_are_selected_from_too() -> None:
    extra = {NAMESPACE: {"expr": "students[0]"}}
    configuration = document(backend("/a"), backend("/fails"), extra_config=extra)
    async with gateway(Backends({"/a": STUDENTS}), configuration) as app:
        reply = await ask(app)
    assert reply.json() == {"name": "Bill", "age": 23}
    assert reply.headers["x-krakend-completed"] == "false"


async def test_a_response_with_wrong_types_is_a_failure_and_its_message_is_parked() -> None:
    backends = Backends({"/a": STUDENTS})
    async with gateway(backends, document(extra_config={NAMESPACE: {"expr": "length(n)"}})) as app:
        reply = await ask(app)
    assert (reply.status, reply.body[:10]) == (500, b"JMESPath: ")
    assert backends.messages[0].end == "parked"


@pytest.mark.parametrize(
    ("expr", "word"),
    [("a[", "Incomplete"), ("", "empty"), ("a # b", "Bad"), ("{a: nosuch(b)}", '"nosuch"')],
)
def test_an_expression_with_a_mistake_stops_the_start(expr: str, word: str) -> None:
    said = refusal(document(extra_config={NAMESPACE: {"expr": expr}}))
    assert f'$.endpoints[0].extra_config["{NAMESPACE}"].expr: not a JMESPath expression' in said
    assert word in said


EXPRESSIONS = (
    "sort_by(@.a, &b)",
    "max_by(a, &b) || min(a)",
    "join(',', a) || to_number(a) || abs(a) || ceil(a)",
    "a[?b > c].{x: b, y: sum(a[])}",
    "map(&length(@), a) || merge(a, b) || reverse(a) || avg(a)",
    "a[::-1] | [0] || keys(@) || contains(a, b) || starts_with(a, b)",
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from("abc") | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.sampled_from(EXPRESSIONS), anything)
def test_no_response_makes_an_expression_raise_anything_else(expr: str, value: object) -> None:
    body = json.dumps(value).replace("Infinity", "1e999").encode()

    async def proxy(request: Request) -> Response:
        return Response(decode_safejson(body))

    settings = JmespathSettings(expr=expr)
    assert list(verify_jmespath(settings)) == []
    branch = build_endpoint_jmespath(settings, Endpoint(), ASSEMBLY)(Branch(proxy))
    with pytest.raises((ModifierFailure, StopIteration)):
        next(coroutine_of(branch)(Request("GET", "/", {})).__await__())
