"""Bodies from templates, through a whole gateway."""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.body_generator import (
    GeneratorSettings,
    build_request_generator,
    build_response_generator,
)
from gateway.components.template import build_render, max_inline_bytes
from gateway.config.structs import Endpoint, Service
from gateway.core.bridge import AsyncioSide
from gateway.core.component import Assembly, Catalog
from gateway.core.pipe import coroutine_of
from gateway.core.proxy import Branch, Request, Response
from gateway.encoding import decode_json
from gateway.errors import ModifierFailure
from tests.watchdog import watched

from .gateways import Backends, Document, ask, backend, document, gateway, refusal

pytestmark = pytest.mark.anyio

REQUEST = "modifier/request-body-generator"
ANSWER = "modifier/response-body-generator"
ASSEMBLY = Assembly(Service(), Catalog(), cast(AsyncioSide, None))


async def sent(
    settings: Document, body: bytes = b"", level: str = "endpoint", name: str = REQUEST
) -> Request:
    """The request that reaches the backend."""
    backends = Backends({"/users/{id}": b"{}"})
    extra = {"extra_config": {name: settings}}
    keys = {
        "endpoint": "/e/{id}",
        "method": "POST",
        "input_headers": ["X-One", "Content-Type"],
        "input_query_strings": ["q"],
    }
    asked = backend("/users/{id}", **(extra if level == "backend" else {}))
    configuration = document(asked, **keys, **(extra if level == "endpoint" else {}))
    async with gateway(backends, configuration) as app:
        reply = await ask(
            app, "/e/7?q=1&q=2", method="POST", body=body, x_one="yes", content_type="text/csv"
        )
    assert reply.status == 200, reply.body
    return backends.asked[0]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ req_method }} {{ req_path }} {{ req_params.Id }}", b"POST /e/7 7"),
        ("{{ req_headers['X-One'][0] }} {{ req_querystring.q | join('+') }}", b"yes 1+2"),
        ('{"n": {{ req_body.n }}, "all": {{ req_body | tojson }}}', b'{"n": 3, "all": {"n":3,'),
        ("{{ req_body.items | tojson }}", b'"mine"'),
        ("{{ variables.a.b }}", b"c"),
        ("[{{ req_body.nosuch.deeper }}]{{ nosuch | tojson }}", b"[]null"),
        ("{% for k, v in req_body | dictsort %}{{ k }}={{ v }};{% endfor %}", b"items=mine;n=3;"),
    ],
)
async def test_a_template_makes_the_body_of_a_request(template: str, expected: bytes) -> None:
    settings = {"template": template, "variables": {"a": {"b": "c"}}}
    asked = await sent(settings, b'{"n":3,"items":"mine"}')
    assert asked.body.startswith(expected)
    assert asked.header(b"content-type") == b"application/json"


async def test_at_a_backend_variables_are_those_of_its_own_request() -> None:
    settings = {"template": "{{ req_path }}", "content_type": "text/plain"}
    asked = await sent(settings, level="backend", name="modifier/body-generator")
    assert asked.body == b"/users/7"
    assert asked.header(b"content-type") == b"text/plain"


async def test_a_body_that_is_not_json_is_a_string() -> None:
    assert (await sent({"template": "<{{ req_body }}>"}, b"a,b\xff")).body == "<a,b�>".encode()


async def test_a_template_may_be_in_base64_or_in_a_file(tmp_path: Path) -> None:
    encoded = b64encode(b"{{ req_params.Id }}!").decode()
    assert (await sent({"template": encoded})).body == b"7!"
    path = tmp_path / "body.tmpl"
    path.write_text("{{ req_params.Id }}?\n")
    assert (await sent({"path": str(path)})).body == b"7?\n"


async def answer(
    settings: Document, body: bytes = b'{"a":1,"l":[1]}', way: str = "proxy", **keys: object
) -> tuple[int, str, bytes]:
    backends = Backends({"/a": body}, way, status=202)
    configuration = document(endpoint="/e/{id}", extra_config={ANSWER: settings}, **keys)
    async with gateway(backends, configuration) as app:
        reply = await ask(app, "/e/7")
    assert backends.messages[0].end == ("acknowledged" if reply.status < 300 else "parked")
    return reply.status, reply.headers.get("content-type", ""), reply.body


@pytest.mark.parametrize("way", ["ask", "now", "later"])
async def test_a_template_makes_the_response(way: str) -> None:
    template = (
        '{"id": {{ req_params.Id }}, "was": {{ resp_body | tojson }}, "s": {{ resp_status }}}'
    )
    status, content_type, body = await answer({"template": template}, way=way)
    assert (status, content_type) == (200, "application/json; charset=utf-8")
    assert json.loads(body) == {"id": 7, "was": {"a": 1, "l": [1]}, "s": 0}


async def test_a_list_becomes_a_collection_and_a_string_becomes_content() -> None:
    assert (await answer({"template": "{{ resp_body.l | tojson }}"}))[2] == b'{"collection":[1]}'
    settings = {"template": "a is {{ resp_body.a }}", "content_type": "text/plain"}
    assert (await answer(settings))[2] == b'{"content":"a is 1"}'
    status, content_type, body = await answer(settings, output_encoding="string")
    assert (status, content_type, body) == (200, "text/plain; charset=utf-8", b"a is 1")


async def test_with_no_op_body_and_type_are_replaced_and_status_and_headers_known() -> None:
    settings = {
        "template": "<s>{{ resp_status }} {{ resp_headers['X-One'][0] }} {{ resp_body.a }}</s>",
        "content_type": "application/xml",
    }
    result = await answer(settings, output_encoding="no-op")
    assert result == (202, "application/xml", b"<s>202 1 1</s>")
    settings = {"template": "[{{ resp_body }}]"}
    assert (await answer(settings, b"text", output_encoding="no-op"))[2] == b"[text]"


@pytest.mark.parametrize("template", ["{{ resp_body.a / 0 }}", "{{ resp_body.a.__class__.mro() }}"])
async def test_a_template_that_fails_is_a_failure(template: str) -> None:
    status, _, body = await answer({"template": template})
    assert status == 500
    assert body.startswith(b"template: ")


async def test_at_a_backend_a_failing_template_loses_only_its_part() -> None:
    backends = Backends({"/a": b'{"a":1}', "/b": b'{"b":1}'})
    broken = backend("/a", extra_config={ANSWER: {"template": "{{ resp_body.a / 0 }}"}})
    async with gateway(backends, document(broken, backend("/b"))) as app:
        assert (await ask(app)).json() == {"b": 1}


async def test_variables_and_results_are_logged_with_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "gateway.template"):
        await sent({"template": "quiet {{ req_params.Id }}"})
        assert caplog.records == []
        await sent({"template": "loud {{ req_params.Id }}", "debug": True})
    assert "loud 7" in caplog.text


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"template": "{{ .req_body.a }}"}, ".template: not a template: line 1: unexpected '.'"),
        ({"template": "{% if a %}"}, ".template: not a template: line 1"),
        ({"template": "\n{{ a | nosuch }}"}, ".template: not a template: line 2"),
        ({"template": "{% include 'x' %}"}, ".template: not a template: it refers to another"),
        ({"path": "/nowhere/x.tmpl"}, ".path: cannot read /nowhere"),
        ({}, ': expected either "template" or "path"'),
        ({"template": "a", "path": "b"}, ': expected either "template" or "path"'),
        ({"template": "{{ a }}", "content_type": "a\nb"}, ".content_type: expected"),
    ],
)
@pytest.mark.parametrize("namespace", [REQUEST, ANSWER])
def test_a_template_with_a_mistake_stops_the_start(
    namespace: str, settings: Document, word: str
) -> None:
    said = refusal(document(extra_config={namespace: settings}))
    assert f'error: GET /e: $.endpoints[0].extra_config["{namespace}"]{word}' in said


TEMPLATES = (
    "{{ req_body.a.b }}{{ req_body | tojson }}{{ req_body.items() }}",
    "{% for x in req_body %}{{ x.y }}{{ loop.index }}{% endfor %}",
    "{{ req_headers['X-One'][0] | upper }}{{ req_querystring | tojson }}{{ req_path }}",
    "{{ resp_body.a + 1 }}{{ resp_body.keys() | list }}{{ resp_body.a % req_body.b }}",
    "{{ '%s' | format(req_body.a) }}{{ req_body.a.format(req_body) }}",
)
LOOPS = {
    "{% for a in b %}{{ a }}{% endfor %}{% for a in b %}{{ a }}{% endfor %}": 4096,
    "{{ b }}": 4096,
    "{% for a in b %}{% for c in b %}{{ loop.index }}{{ a }}{{ c }}{% endfor %}{% endfor %}": 200,
    "{% for a in b %}{% if a %}{% for c in b %}{% for d in b %}{{ loop.index }}{% endfor %}"
    "{% endfor %}{% endif %}{% endfor %}": 42,
    "{% macro m(a) %}{% for c in b %}{{ c }}{% endfor %}{% endmacro %}"
    "{% for a in b %}{{ m(a) }}{% endfor %}": 200,
}


@pytest.mark.parametrize(
    ("template", "most"),
    [
        ("{% for a in req_querystring %}{% for b in [a] %}{% endfor %}{% endfor %}", -1),
        ("{% set q = req_headers %}{% for a in q %}{% for b in q %}{% endfor %}{% endfor %}", -1),
        ("{% for a in req_headers %}{% endfor %}", 4096),
        ("{% for a in req_body %}{% for b in a %}{{ req_params.Id }}{% endfor %}{% endfor %}", 200),
    ],
)
def test_nested_loops_over_lists_of_a_request_always_run_in_a_helper(
    template: str, most: int
) -> None:
    assert max_inline_bytes(template, 4096) == most


async def test_nested_loops_over_a_query_string_run_in_a_helper_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    template = (
        "{% for a in req_querystring.q %}{% for b in req_querystring.q %}"
        "{{ loop.index }}{% endfor %}{% endfor %}"
    )
    configuration = document(
        extra_config={REQUEST: {"template": template}}, input_query_strings=["*"], timeout="100s"
    )
    backends = Backends({"/a": b'{"a":1}'})
    with caplog.at_level("DEBUG", "gateway.helpers"):
        async with gateway(backends, configuration) as app:
            with watched(0.5):
                reply = await ask(app, "/e?" + "&".join(["q=1"] * 500))
    assert reply.status == 200
    assert backends.asked[0].body == "".join(map(str, range(1, 501))).encode() * 500
    assert "helper process" in caplog.text


@pytest.mark.parametrize(("template", "most"), LOOPS.items())
def test_nested_loops_take_no_longer_than_their_bound_allows(template: str, most: int) -> None:
    assert max_inline_bytes(template, 4096) == most
    values = [1] * (most // 2)
    with watched(0.2):
        build_render(template)({"b": values})


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
hostile = st.sampled_from((b'{"a":"{0.__class__}"}', b'{"a":"%n"}', b'{"__class__":1,"items":2}'))


@given(
    st.sampled_from(TEMPLATES),
    st.binary(max_size=20) | anything.map(lambda value: json.dumps(value).encode()) | hostile,
    st.binary(max_size=9),
    st.text() | st.just("\ud800"),
)
def test_no_body_makes_a_template_raise_anything_else(
    template: str, body: bytes, header: bytes, path: str
) -> None:
    async def proxy(request: Request) -> Response:
        assert b"<class" not in request.body
        return Response(decode_json(b'{"a":1}'))

    settings = GeneratorSettings(template=template, content_type="text/plain")
    endpoint = Endpoint(input_headers=("*",), input_query_strings=("*",))
    branch = build_request_generator(settings, endpoint, ASSEMBLY)(Branch(proxy))
    branch = build_response_generator(settings, endpoint, ASSEMBLY)(branch)
    request = Request("POST", path, {}, [(b"x-one", header)], query_string=header, body=body)
    try:
        coroutine_of(branch)(request).__await__().__next__()
    except (ModifierFailure, StopIteration):
        return
    raise AssertionError("the branch waits")
