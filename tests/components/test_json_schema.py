"""Bodies and responses that must match a schema, through a whole gateway."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.json_schema import build_body_validation
from gateway.components.schema import build_validate
from gateway.config.json_types import Json, JsonObject
from tests.watchdog import watched

from .gateways import Backends, ask, backend, document, gateway, refusal

pytestmark = pytest.mark.anyio

REQUEST = "validation/json-schema"
ANSWER = "validation/response-json-schema"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
AGE: JsonObject = {
    "type": "object",
    "required": ["age"],
    "properties": {"age": {"type": "integer"}},
}


async def answered(schema: Json, body: bytes, method: str = "POST") -> tuple[int, str, int]:
    """Status, body, and how often the backend was called."""
    backends = Backends({"/a": b'{"a":1}'})
    configuration = document(method=method, extra_config={REQUEST: schema})
    async with gateway(backends, configuration) as app:
        reply = await ask(app, method=method, body=body)
    return reply.status, reply.body.decode(), len(backends.asked)


async def test_a_valid_body_reaches_the_backend() -> None:
    backends = Backends({"/a": b'{"a":1}'})
    configuration = document(method="POST", extra_config={REQUEST: AGE})
    async with gateway(backends, configuration) as app:
        reply = await ask(app, method="POST", body=b'{"age": 3}')
    assert reply.json() == {"a": 1}
    assert backends.asked[0].body == b'{"age": 3}'


async def test_an_invalid_body_is_refused_with_its_violation_and_reaches_no_backend() -> None:
    status, body, asked = await answered(AGE, b'{"age":"secret"}')
    assert (status, asked) == (400, 0)
    assert body == "- at '/age': value is not of type \"integer\""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"{nope",
        b'{"age":1}{"age":2}',
        b'{"age":1} x',
        b'\xef\xbb\xbf{"age":1}',
        b'{"age":1e400}',
        b'{"age":' + b"1" * 5000 + b"}",
        b'{"age":NaN}',
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:12]),
)
async def test_a_body_that_is_not_one_json_document_is_refused(body: bytes) -> None:
    status, _, asked = await answered(AGE, body)
    assert (status, asked) == (400, 0)


@pytest.mark.parametrize(
    "body",
    [
        b'{"age":123456789012345678901234567890}',
        b'{"age":1.0}',
        b'{"age":"x","age":1}',
        b'{"age":1,"name":"\xff"}',
        b'{"age":1,"name":"\\ud800"}',
        b' {"age":1} \n',
    ],
)
async def test_json_that_go_accepts_is_accepted(body: bytes) -> None:
    status, _, asked = await answered(AGE, body)
    assert (status, asked) == (200, 1)


async def test_a_get_without_a_body_is_refused() -> None:
    status, body, asked = await answered({}, b"", method="GET")
    assert (status, asked) == (400, 0)
    assert body == "could not validate an empty body"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"$schema": DRAFT_7}, 400),
        ({"$schema": "http://json-schema.org/draft-06/schema#"}, 400),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, 400),
        ({"$schema": "https://json-schema.org/draft/2019-09/schema"}, 200),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema"}, 200),
    ],
)
async def test_formats_are_asserted_by_the_old_drafts_only(
    changes: JsonObject, status: int
) -> None:
    schema: JsonObject = {"properties": {"d": {"format": "email"}}, **changes}
    assert (await answered(schema, b'{"d":"no mail"}'))[0] == status


@pytest.mark.parametrize("draft", ["04", "06", "07"])
@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("uuid", "2eb8aa08-aa98-11ea-b4aa-73b441d16380", "2eb8aa08"),
        ("duration", "P1DT2H", "1 day"),
        ("json-pointer", "/a/0", "a"),
        ("relative-json-pointer", "1/a", "/a"),
        ("iri", "http://é.test", "é"),
        ("uri-template", "/{a}", "/{a"),
    ],
)
def test_the_old_drafts_assert_formats_of_newer_ones(
    draft: str, name: str, right: str, wrong: str
) -> None:
    validate = build_validate(
        {"$schema": f"http://json-schema.org/draft-{draft}/schema#", "format": name}
    )
    assert (validate(right), bool(validate(wrong)), validate(5)) == ("", True, "")
    assert build_validate({"format": name})(wrong) == ""


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": 5}, ".type:"),
        ({"properties": {"a b": {"type": "nope"}}}, '.properties["a b"].type:'),
        ({"anyOf": [{}, {"minLength": -1}]}, ".anyOf[1].minLength:"),
        ({"pattern": "("}, ".pattern:"),
        ({"exclusiveMinimum": True}, ".exclusiveMinimum:"),
        ({"$ref": "#/nowhere"}, ":"),
        ({"$ref": "http://127.0.0.1:1/schema.json"}, ":"),
        ({"$ref": "file:///etc/passwd"}, ":"),
        ({"$ref": "other.json"}, ":"),
        ({"$schema": "http://nobody.test/schema"}, ":"),
        ("a text", ":"),
    ],
)
def test_a_schema_that_cannot_be_used_stops_the_start_with_its_path(
    schema: Json, path: str
) -> None:
    said = refusal(document(extra_config={REQUEST: schema}))
    assert f'error: GET /e: $.endpoints[0].extra_config["{REQUEST}"]{path}' in said
    said = refusal(document(backend(extra_config={ANSWER: {"schema": schema}})))
    assert f'.backend[0].extra_config["{ANSWER}"].schema{path}' in said


def test_all_problems_of_a_configuration_are_reported_at_once() -> None:
    extra = {REQUEST: {"type": 5}, ANSWER: {"schema": {"type": 6}, "error": {"status": 99}}}
    said = refusal(document(extra_config=extra))
    assert [line.rpartition('"]')[2].split(":")[0] for line in said.splitlines()] == [
        ".type",
        ".schema.type",
        ".error.status",
    ]


def test_on_a_backend_a_schema_for_requests_stops_the_start() -> None:
    said = refusal(document(backend(extra_config={REQUEST: {}})))
    assert (
        "has no meaning on this level (backend); it is a security setting, so the gateway does"
        in said
    )


async def answer_checked(
    body: bytes, settings: JsonObject, way: str = "proxy", **keys: Json
) -> tuple[int, str, str, str]:
    """Status, content type and body of the response; how the message was settled."""
    backends = Backends({"/a": body}, way)
    configuration = document(extra_config={ANSWER: {"schema": AGE, **settings}}, **keys)
    async with gateway(backends, configuration) as app:
        reply = await ask(app)
    content_type = reply.headers.get("content-type", "")
    return reply.status, content_type, reply.body.decode(), backends.messages[0].end


async def test_a_valid_response_is_returned_unchanged() -> None:
    status, _, body, end = await answer_checked(b'{"age":1, "price":1.50}', {})
    assert (status, end) == (200, "acknowledged")
    assert '"price":1.50' in body


async def test_an_invalid_response_is_replaced_by_the_configured_error() -> None:
    error: JsonObject = {"status": 418, "body": "<no/>", "content_type": "application/xml"}
    result = await answer_checked(b'{"age":"x"}', {"error": error})
    assert result == (418, "application/xml", "<no/>", "parked")


async def test_without_a_configured_body_the_client_gets_the_violations() -> None:
    status, content_type, body, _ = await answer_checked(b"{}", {})
    assert (status, content_type) == (500, "text/plain; charset=utf-8")
    assert body == "- at '': \"age\" is a required property"


@pytest.mark.parametrize(("body", "status"), [(b'{"age":1}', 200), (b"[]", 500), (b"<a/>", 500)])
async def test_with_no_op_the_body_must_be_valid(body: bytes, status: int) -> None:
    assert (await answer_checked(body, {}, output_encoding="no-op"))[0] == status


@pytest.mark.parametrize("way", ["ask", "now", "later"])
async def test_on_a_backend_its_part_is_missing_and_its_message_parked(way: str) -> None:
    backends = Backends({"/a": b'{"age":"x"}', "/b": b'{"b":1}'}, way)
    checked = backend("/a", extra_config={ANSWER: {"schema": AGE}})
    async with gateway(backends, document(checked, backend("/b"))) as app:
        reply = await ask(app)
    assert reply.json() == {"b": 1}
    assert reply.headers["x-krakend-completed"] == "false"
    assert sorted(message.end for message in backends.messages) == ["acknowledged", "parked"]


SCHEMAS = (
    AGE,
    {"$schema": DRAFT_7, "type": "string", "format": "date"},
    {"type": "array", "items": {"multipleOf": 0.1}, "uniqueItems": True},
    {"patternProperties": {"^a+$": {"minLength": 2}}, "additionalProperties": {"$ref": "#"}},
    {"not": {"enum": [1, "a", None, {"a": [1.5]}]}},
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from(SCHEMAS), st.binary() | values.map(lambda value: json.dumps(value).encode()))
def test_no_body_makes_a_schema_raise_anything_else(schema: Json, body: bytes) -> None:
    assert isinstance(build_body_validation(schema)(body), str)


DIGITS = {"pattern": "^[[:digit:]]+$"}


@pytest.mark.parametrize("draft", [{}, {"$schema": DRAFT_7}], ids=["newest", "draft 7"])
@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        (DIGITS, "12", "1x"),
        ({"pattern": "(?s)^a.b$"}, "a\nb", "ab"),
        ({"pattern": r"^a\sb$"}, "a b", "a\u00a0b"),
        ({"pattern": r"^\Qa.b\E$"}, "a.b", "axb"),
        ({"pattern": r"^(?!x).$"}, "a", "x"),
        ({"properties": {"pattern": DIGITS}}, {"pattern": "1"}, {"pattern": "x"}),
        ({"properties": {"const": DIGITS}}, {"const": "1"}, {"const": "x"}),
        ({"anyOf": [{"const": DIGITS}, {"type": "null"}]}, DIGITS, {"pattern": "1"}),
        ({"items": {"allOf": [DIGITS]}}, ["1", "2"], ["1", "x"]),
    ],
)
def test_patterns_are_those_of_go(
    draft: JsonObject, schema: JsonObject, right: Json, wrong: Json
) -> None:
    validate = build_validate({**draft, **schema})
    assert (validate(right), bool(validate(wrong))) == ("", True)


def test_the_old_drafts_ignore_keywords_next_to_a_reference() -> None:
    schema: JsonObject = {"$schema": DRAFT_7, "definitions": {"a": {}}}
    validate = build_validate(
        {**schema, "items": {"$ref": "#/definitions/a", "pattern": "^[0-9]$"}}
    )
    assert validate(["x"]) == ""


def test_a_pattern_that_takes_too_long_does_not_match() -> None:
    validate = build_validate({"pattern": r"^(a|a)*(?=b)$"})
    assert validate("a" * 40)


def test_the_text_of_violations_is_bounded() -> None:
    validate = build_validate({"items": {"type": "string"}})
    assert len(validate([{"x" * 1000: 1}] * 1000)) < 3000


REFERENCE: JsonObject = {"$ref": "#"}
INNER: JsonObject = {"type": "object", "required": ["a"], "properties": {"a": REFERENCE}}
RECURSIVE = {
    "anyOf": {"anyOf": [INNER, {**INNER, "title": "b"}, {"type": "string"}]},
    "oneOf": {"oneOf": [INNER, {**INNER, "title": "b"}, {"type": "string"}]},
    "allOf": {"allOf": [INNER, {**INNER, "title": "b"}]},
    "not": {"not": {"not": INNER}, **INNER},
    "if": {"if": INNER, "then": INNER, "else": {"type": "string"}},
    "patternProperties": {**INNER, "patternProperties": {"^a": REFERENCE, "a$": REFERENCE}},
    "dependentSchemas": {**INNER, "dependentSchemas": {"a": INNER}},
    "unevaluatedProperties": {"anyOf": [INNER], "unevaluatedProperties": REFERENCE, **INNER},
    "an anchor": {
        "$anchor": "n",
        "anyOf": [
            {"required": ["a"], "properties": {"a": {"$ref": "#n"}}, "type": "object"},
            {"properties": {"a": {"$ref": "#n"}}, "type": "object", "minProperties": 1},
        ],
    },
    "a dynamic reference": {
        "$dynamicAnchor": "n",
        "anyOf": [
            {"properties": {"a": {"$dynamicRef": "#n"}}, "required": ["a"], "type": "object"},
            {"properties": {"a": {"$dynamicRef": "#n"}}, "minProperties": 1, "type": "object"},
        ],
    },
    "a reference and keywords beside it": {
        "$defs": {"n": INNER},
        "$ref": "#/$defs/n",
        "properties": {"a": REFERENCE},
    },
}


def chain(depth: int, leaf: Json) -> Json:
    for _ in range(depth):
        leaf = {"a": leaf}
    return leaf


@pytest.mark.parametrize("depth", [14, 40, 240, 900])
@pytest.mark.parametrize("schema", RECURSIVE.values(), ids=RECURSIVE)
def test_a_small_document_for_a_schema_that_branches_is_refused_in_time(
    schema: Json, depth: int
) -> None:
    validate = build_validate(schema)
    with watched():
        assert validate(chain(depth, 1))


REFERRING = st.recursive(
    st.just(REFERENCE) | st.sampled_from([{"type": "string"}, {"type": "object"}, True]),
    lambda inner: st.one_of(
        st.builds(lambda key, each: {key: each}, st.sampled_from(["not", "contains"]), inner),
        st.builds(
            lambda key, each: {key: each},
            st.sampled_from(["anyOf", "oneOf", "allOf"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(lambda each: {"properties": {"a": each}, "required": ["a"]}, inner),
        st.builds(lambda each: {"items": each, "minItems": 1}, inner),
        st.builds(lambda first, then: {"if": first, "then": then}, inner, inner),
    ),
    max_leaves=8,
)


@given(REFERRING, st.integers(12, 60), st.sampled_from([1, "s", {"b": 1}, [1]]), st.booleans())
def test_any_schema_that_refers_to_itself_validates_a_document_in_time(
    schema: Json, depth: int, leaf: Json, is_list: bool
) -> None:
    try:
        validate = build_validate({"type": ["object", "array"], "allOf": [schema]})
    except ValueError:  # it refers to nothing but itself
        return
    value = chain(depth, leaf)
    if is_list:
        for _ in range(depth):
            leaf = [leaf]
        value = leaf
    with watched():
        validate(value)


UNIQUE_BUT_ONE: list[Json] = [[number] for number in [*range(50_000), 0]]
LARGE: dict[str, tuple[Json, Json]] = {
    "contains": ({"contains": {"type": "string"}}, [1] * 300_000),
    "items": ({"items": {"type": "string", "minLength": 3}}, ["a"] * 300_000),
    "uniqueItems": ({"uniqueItems": True}, UNIQUE_BUT_ONE),
    "required": ({"items": {"required": list(map(str, range(200)))}}, [{}] * 10_000),
    "enum": ({"items": {"enum": [{"a": each} for each in range(200)]}}, [{"a": 1000}] * 10_000),
    "additionalProperties": (
        {"additionalProperties": False},
        {str(number): 1 for number in range(100_000)},
    ),
    "a pattern of ECMA's": ({"pattern": "(?=a)(a*)*b$"}, "a" * 60_000),
    "a pattern that backtracks": ({"pattern": "(?=a)(a+)+$"}, "a" * 60 + "b"),
    "a long name": ({"additionalProperties": False}, {"a" * 1_000_000: 1}),
}


@pytest.mark.parametrize(("schema", "value"), LARGE.values(), ids=LARGE)
def test_a_large_invalid_document_is_refused_in_time(schema: Json, value: Json) -> None:
    validate = build_validate(schema)
    with watched():
        text = validate(value)
    assert 0 < len(text) < 5_000


def test_violations_are_listed_where_that_takes_little_time() -> None:
    tree: JsonObject = {"properties": {"n": {"type": "integer"}, "children": {"items": REFERENCE}}}
    assert build_validate(tree)({"children": [{"n": "x"}, {"n": 1}]}) == (
        "- at '/children/0/n': value is not of type \"integer\""
    )
    many = build_validate({"items": {"type": "string"}})
    assert len(many([1] * 500).splitlines()) == 10
    assert many([1] * 5_000) == "- at '': value does not match its schema"


def test_a_document_that_is_too_deep_for_the_validator_is_refused() -> None:
    validate = build_validate({"type": "object", "const": {}})
    assert "it cannot be validated" in validate(chain(900, 1))


ITEMS: JsonObject = {"type": "array", "items": {"type": "integer"}}


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"[%b1]" % (b"1," * 500_000), 200, ""),
        (b'[%b"1"]' % (b"1," * 500_000), 400, "- at '': value does not match its schema"),
        (b"[%b" % (b"1," * 500_000), 400, "Input data was truncated"),
    ],
    ids=["it fits", "it does not", "it is no JSON"],
)
async def test_a_large_body_is_validated_in_a_helper_process(
    body: bytes, status: int, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", "gateway.helpers"):
        answer = await answered(ITEMS, body)
    assert (answer[0], answer[2]) == (status, 1 if status == 200 else 0)
    assert status == 200 or text in answer[1]
    assert "helper process" in caplog.text
