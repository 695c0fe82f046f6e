"""Expressions about requests, responses and tokens, through a whole gateway."""

from __future__ import annotations

import json
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.cel import CelSettings, Expression, build_endpoint_cel, build_token_cel
from gateway.components.expression import MAX_VALUES, MAX_VALUES_NESTED, max_values
from gateway.config.structs import Endpoint, Service
from gateway.core.bridge import AsyncioSide
from gateway.core.component import Assembly, Catalog
from gateway.core.pipe import coroutine_of
from gateway.core.proxy import Branch, Request, Response
from gateway.encoding import decode_json
from gateway.errors import Aborted, TooManyValues

from ..watchdog import watched
from .gateways import Backends, Document, ask, backend, document, gateway, refusal

pytestmark = pytest.mark.anyio

CEL = "validation/cel"
ASSEMBLY = Assembly(Service(), Catalog(), cast(AsyncioSide, None))
ENDLESS = "req_method == 'GET'"
for _ in range(5):  # 9 ** 5 steps
    ENDLESS = f"[1, 2, 3, 4, 5, 6, 7, 8, 9].all(n, {ENDLESS})"
ANSWER = b'{"a":1.50,"s":"x","o":{"k":["v"]},"n":null,"l":[{"id":7}]}'


def cel(*texts: str) -> Document:
    return {CEL: [{"check_expr": text} for text in texts]}


async def status(text: str, target: str = "/e", **keys: object) -> int:
    async with gateway(Backends({"/a": ANSWER}), document(extra_config=cel(text), **keys)) as app:
        return (await ask(app, target, x_one="yes", x_two="hidden", x_three="é")).status


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("req_method == 'GET'", True),
        ("req_method in ['POST', 'PUT']", False),
        ("req_path == '/e/7'", True),
        ("req_params.Id == '7' && int(req_params.Id) % 7 == 0", True),
        ("req_params.id == '7'", False),
        ("has(req_params.id)", False),
        ("req_headers['X-One'][0] == 'yes'", True),
        ("'X-Two' in req_headers", False),
        ("req_headers['X-One'] == ['yes'] && req_headers['X-Three'][0] == 'é'", True),
        ("size(req_headers['User-Agent']) == 1", True),
        ("req_querystring.q == ['1', 'b c'] && !('z' in req_querystring)", True),
        ("req_path.matches('^/e/[0-9]+$') && matches(req_method, 'G.T')", True),
        ("timestamp(now) - duration('1h') > timestamp('2020-01-01T00:00:00Z') || req_x", True),
        ("timestamp(now).getHours('Europe/Madrid') < 24 && req_method != ''", True),
        ("req_querystring.q.all(v, size(v) > 0)", True),
        ("req_querystring.q.exists_one(v, v == '1')", True),
        ("req_querystring.q.map(v, v + '!').filter(v, v.endsWith('!')).size() == 2", True),
        ("req_method", False),
        ("req_method + 'x'", False),
        ("req_nosuch == 1", False),
        ("req_nosuch == 1 || true", True),
        ("req_method == 1", False),
        ("1 / 0 == 1 || req_method == 'GET'", True),
        (ENDLESS, False),
    ],
)
async def test_an_expression_about_the_request(text: str, holds: bool) -> None:
    keys = {
        "endpoint": "/e/{id}",
        "input_headers": ["X-One", "X-Three", "User-Agent"],
        "input_query_strings": ["q"],
    }
    assert await status(text, "/e/7?q=1&q=b+c&z=1", **keys) == (200 if holds else 500)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("resp_completed", True),
        ("resp_data.s == 'x' && resp_data.o.k[0] == 'v'", True),
        ("resp_data.a == '1.50'", True),
        ("resp_data.a == 1.5", False),
        ("double(resp_data.a) == 1.5 && resp_data.l.all(x, int(x.id) > 5)", True),
        ("resp_data.n == null", True),
        ("resp_data.nosuch == 'x'", False),
        ("has(resp_data.nosuch)", False),
        ("resp_metadata_status == 0", True),
        ("size(resp_metadata_headers) == 0", True),
        ("timestamp(now) > timestamp('2020-01-01T00:00:00Z') && resp_completed", True),
    ],
)
async def test_an_expression_about_the_response(text: str, holds: bool) -> None:
    assert await status(text) == (200 if holds else 500)


async def test_with_no_op_status_and_headers_are_known() -> None:
    text = "resp_metadata_status == 202 && resp_metadata_headers['X-One'] == ['1']"
    configuration = document(extra_config=cel(text), output_encoding="no-op")
    async with gateway(Backends({"/a": ANSWER}, status=202), configuration) as app:
        assert (await ask(app)).body == ANSWER


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("req_method == 'GET' && resp_completed", 500),
        ("req_method == 'GET' || resp_completed", 200),
        ("now == ''", 200),
        ("false", 200),
        ("JWT.sub == 'me'", 200),
    ],
)
async def test_letters_decide_when_an_expression_is_evaluated(text: str, expected: int) -> None:
    assert await status(text) == expected


async def test_the_error_has_the_number_of_the_failing_expression_in_its_phase() -> None:
    texts = ("resp_completed", "req_method == 'GET'", "now == ''", "req_path == '/'")
    backends = Backends({"/a": ANSWER})
    async with gateway(backends, document(extra_config=cel(*texts))) as app:
        reply = await ask(app)
    assert (reply.status, reply.body) == (500, b"request aborted by evaluator #1")
    assert backends.asked == []


async def test_partial_responses_are_not_checked() -> None:
    never = cel("resp_data.nosuch == 1")
    configuration = document(backend("/a"), backend("/fails"), extra_config=never)
    async with gateway(Backends({"/a": ANSWER}), configuration) as app:
        reply = await ask(app)
    assert (reply.status, reply.headers["x-krakend-completed"]) == (200, "false")


async def test_static_data_in_place_of_a_failure_is_not_checked() -> None:
    extra = {**cel("resp_data.nosuch == 1"), "proxy": {"static": {"data": {"st": 1}}}}
    async with gateway(Backends({}), document(extra_config=extra)) as app:
        assert (await ask(app)).json() == {"st": 1}


@pytest.mark.parametrize("way", ["ask", "now", "later"])
async def test_a_backend_is_not_called_when_the_expression_on_its_request_is_false(
    way: str,
) -> None:
    backends = Backends({"/a": ANSWER, "/b": b'{"b":1}'}, way)
    checked = backend("/a", extra_config=cel("req_method == 'POST'"))
    async with gateway(backends, document(checked, backend("/b"))) as app:
        reply = await ask(app)
    assert reply.json() == {"b": 1}
    assert reply.headers["x-krakend-completed"] == "false"
    assert len(backends.messages) == 1


@pytest.mark.parametrize("way", ["ask", "now", "later"])
async def test_a_message_is_parked_when_the_expression_on_its_response_is_false(way: str) -> None:
    backends = Backends({"/a": ANSWER}, way)
    checked = backend("/a", extra_config=cel("resp_data.s == 'y'"))
    async with gateway(backends, document(checked)) as app:
        reply = await ask(app)
    assert (reply.status, reply.body) == (500, b"request aborted by evaluator #0")
    assert [message.end for message in backends.messages] == ["parked"]


@pytest.mark.parametrize("way", ["ask", "now", "later"])
@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("req_querystring.q[0] == 'good'", b"request aborted by evaluator #0"),
        ("resp_data.s == 'y'", b"circuit breaker is open"),
    ],
)
async def test_aborted_requests_do_not_open_a_breaker_and_aborted_responses_do(
    way: str, text: str, body: bytes
) -> None:
    breaker = {"qos/circuit-breaker": {"interval": 60, "timeout": 60, "max_errors": 1}}
    checked = backend("/a", extra_config={**cel(text), **breaker})
    configuration = document(checked, input_query_strings=["q"])
    async with gateway(Backends({"/a": ANSWER}, way), configuration) as app:
        for _ in range(5):
            reply = await ask(app, "/e?q=bad")
    assert reply.body == body


async def test_at_an_endpoint_every_message_is_parked_when_the_expression_is_false() -> None:
    backends = Backends({"/a": ANSWER, "/b": b'{"b":1}'})
    configuration = document(backend("/a"), backend("/b"), extra_config=cel("'c' in resp_data"))
    async with gateway(backends, configuration) as app:
        assert (await ask(app)).status == 500
    assert [message.end for message in backends.messages] == ["parked"] * 2


@pytest.mark.parametrize(
    "text",
    [
        "req_method == 'PUT'",
        "req_path == '/users/7/{{.Resp0_x}}?id=7'",
        "req_querystring.q == ['1'] && !has(req_querystring.z)",
        "'X-One' in req_headers && !('X-Two' in req_headers)",
    ],
)
async def test_at_a_backend_variables_are_those_of_its_own_request(text: str) -> None:
    checked = backend(
        "/users/{id}/{resp0_x}?id={id}",
        method="PUT",
        input_headers=["X-One"],
        input_query_strings=["q"],
        extra_config=cel(text),
    )
    lists = {"input_headers": ["*"], "input_query_strings": ["*"]}
    configuration = document(checked, endpoint="/e/{id}", **lists)
    async with gateway(Backends({checked["url_pattern"]: ANSWER}), configuration) as app:
        assert (await ask(app, "/e/7?q=1&z=2", x_one="1", x_two="2")).status == 200


async def test_a_later_backend_of_a_sequence_depends_on_an_earlier_response() -> None:
    backends = Backends({"/a": ANSWER, "/b/{resp0_s}": b'{"b":1}', "/c": b'{"c":1}'})
    configuration = document(
        backend("/a", allow=["s"]),
        backend("/b/{resp0_s}", extra_config=cel("req_params.Resp0_s == 'x'")),
        backend("/c", extra_config=cel("has(req_params.NEVER)")),
        extra_config={"proxy": {"sequential": True}},
    )
    async with gateway(backends, configuration) as app:
        reply = await ask(app)
    assert reply.json() == {"s": "x", "b": 1}
    assert reply.headers["x-krakend-completed"] == "false"


CLAIMS = {"sub": "me", "days": [1, 5], "level": 5, "huge": 10**400, "admin": True}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("JWT.sub == 'me' && has(JWT.days) && 5 in JWT.days", True),
        ("JWT.level / 2.0 == 2.5 && JWT.huge > 1e30", True),
        ("JWT.sub == 'you'", False),
        ("has(JWT.nosuch)", False),
        ("JWT.nosuch == 1", False),
        ("JWT.admin", True),
        ("JWT.sub", False),
        ("JWT.sub == 'me' && req_method == 'GET'", False),
    ],
)
def test_an_expression_about_the_token(text: str, holds: bool) -> None:
    settings = CelSettings((Expression(check_expr="true"), Expression(check_expr=text)))
    check = build_token_cel(settings, Endpoint(), ASSEMBLY)
    assert check is not None
    if holds:
        check(CLAIMS)
    else:
        with pytest.raises(Aborted):
            check(CLAIMS)


@pytest.mark.parametrize(
    "text",
    [
        "JWT.l.map(x, x + x).size() > 0",
        "JWT.l.filter (x, x != 's').size() > 0",
        "JWT.l.all(x, x in JWT.k)",
        "JWT.l.all(x, (JWT.l + [x]).size() > 0)",
        "JWT.l.exists(x, x == '(') || true",
        "JWT.l.exists_one(x, x == JWT.l[0])",
        "JWT.l.all(x, JWT.l.map(y, y).size() > 0)",
    ],
)
@pytest.mark.parametrize("size", [40, 400, 20_000])
def test_no_macro_over_claims_takes_long(text: str, size: int) -> None:
    settings = CelSettings((Expression(check_expr=text),))
    check = build_token_cel(settings, Endpoint(), ASSEMBLY)
    assert check is not None
    names = [f"n{number}" for number in range(size // 2)]
    claims = {"l": names, "k": dict.fromkeys(names, "")}
    with watched(0.2):
        if size > (max_values(text) or size):
            with pytest.raises(TooManyValues):
                check(claims)
        else:
            check(claims)


def test_an_expression_without_a_macro_may_see_as_many_values_as_there_are() -> None:
    text = "JWT.map[19999] == 1.0 && JWT.sub != 'all' && 1.0 in JWT.map"
    check = build_token_cel(CelSettings((Expression(check_expr=text),)), Endpoint(), ASSEMBLY)
    assert check is not None
    check({"map": [1] * 20_000, "sub": "s"})


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("JWT.a == 'b'", None),
        ("JWT.map == JWT.all && JWT.recall(1)", None),
        ("JWT.a.exists_one(x, x == 1)", MAX_VALUES),
        ("JWT.a.map(x, x + '(').filter(x, x != ')').size() > 1", MAX_VALUES),
        ("JWT.a.map(x, x.filter(y, y > 1))", MAX_VALUES_NESTED),
        ("JWT.a.all(x, ((x)) != ')' && JWT.b.map(y, y) == [])", MAX_VALUES_NESTED),
        ("JWT.a.all(x, JWT.b.exists(y, y == x))", MAX_VALUES),
        (r"JWT.b == r'\' && JWT.a.exists(x, x == 'c')", MAX_VALUES),
    ],
)
def test_how_many_values_an_expression_may_see(text: str, most: int | None) -> None:
    assert max_values(text) == most


async def test_a_macro_over_more_parts_of_the_query_than_the_bound_is_a_400() -> None:
    text = "req_querystring.q.map(x, x + x).size() > 0"
    configuration = document(extra_config=cel(text), input_query_strings=["*"])
    backends = Backends({"/a": ANSWER})
    async with gateway(backends, configuration) as app:
        few = await ask(app, "/e?" + "&".join(["q=1"] * MAX_VALUES))
        with watched(0.5):
            many = await ask(app, "/e?" + "&".join(["q=1"] * (MAX_VALUES + 1)))
    assert (few.status, many.status) == (200, 400)
    assert many.body == b"too many values for validation/cel: a request may have 500"
    assert len(backends.asked) == 1


def test_expressions_that_do_not_name_the_token_do_not_check_it() -> None:
    settings = CelSettings((Expression(check_expr="req_method == 'GET'"),))
    assert build_token_cel(settings, Endpoint(), ASSEMBLY) is None


@pytest.mark.parametrize(
    "text", ["req_method ==", "has(req_querystring['a'])", "req_method = 'a'", "'req", "(true", "+"]
)
def test_a_syntax_error_stops_the_start_with_its_path(text: str) -> None:
    configuration = document(
        backend(extra_config=cel("req_method == 'GET'", text)), extra_config=cel(text)
    )
    said = refusal(configuration)
    assert f'$.endpoints[0].extra_config["{CEL}"][0].check_expr: not an expression: 1:' in said
    assert f'backend[0].extra_config["{CEL}"][1].check_expr: not an expression: 1:' in said


def test_a_single_object_counts_as_a_list_of_one() -> None:
    assert "not an expression" in refusal(document(extra_config={CEL: {"check_expr": "req =="}}))


async def test_the_old_name_means_the_same() -> None:
    extra = {"github.com/devopsfaith/krakend-cel": [{"check_expr": "req_method == 'POST'"}]}
    async with gateway(Backends({"/a": ANSWER}), document(extra_config=extra)) as app:
        assert (await ask(app)).status == 500


TEXTS = (
    "req_headers['X-One'].exists(v, v.matches('a+')) || req_path.contains('a')",
    "req_params.all(k, size(req_params[k]) < 3) && req_querystring.q[0] == 'a'",
    "resp_data.a == resp_data.b || int(resp_data.a) > 0",
    "resp_data.all(k, type(resp_data[k]) == string || resp_data[k] in [null, true])",
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(
    st.text() | st.sampled_from(["/\ud800"]),
    st.dictionaries(st.text(), st.text() | st.just("\udfff"), max_size=3),
    st.binary(max_size=9),
    st.binary(max_size=20),
    st.binary(max_size=9) | st.dictionaries(st.text(), anything, max_size=4).map(json.dumps),
)
def test_no_request_and_no_response_makes_an_expression_raise_anything_else(
    path: str, params: dict[str, str], header: bytes, query: bytes, body: bytes | str
) -> None:
    async def proxy(request: Request) -> Response:
        return Response(decode_json(body.encode() if isinstance(body, str) else body))

    endpoint = Endpoint(input_headers=("*",), input_query_strings=("*",))
    settings = CelSettings(tuple(Expression(check_expr=text) for text in TEXTS))
    branch = build_endpoint_cel(settings, endpoint, ASSEMBLY)(Branch(proxy))
    request = Request("GET", path, params, [(b"x-one", header)], query_string=query)
    try:
        coroutine_of(branch)(request).__await__().__next__()
    except (Aborted, ValueError, StopIteration):
        return
    raise AssertionError("the branch waits")
