"""Documents, requests and responses as scripts see them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gateway.components.lua.messages import LuaRequest, LuaResponse
from gateway.components.lua.sandbox import MAX_STRING_BYTES, Sandbox, ScriptFailure, Session
from gateway.components.lua.scripts import FUNCTIONS
from gateway.core.proxy import Request, Response
from gateway.encoding import encode_json
from tests.watchdog import watched

SANDBOX = Sandbox(FUNCTIONS, opens_libs=True, max_instructions=1_000_000)


def scripted(code: str, response: Response) -> Response:
    """The response after ``code``; ``d`` is its document, ``r`` the response."""
    session, lua_response = Session(SANDBOX), LuaResponse(response)
    session.bind("response", lua_response)
    session.run(SANDBOX.compile(f"local r = response.load() local d = r:data() {code}", "post"))
    return lua_response.finished(has_status=response.body is not None)


def changed(code: str, data: dict[str, Any]) -> Any:
    """The document of a backend after ``code``."""
    shallow = {key: Raw(json.dumps(value).encode()) for key, value in data.items()}
    response = scripted(code, Response(shallow))
    return json.loads(encode_json(response.data))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("", {"a": {"b": [1, "x", None]}, "n": 1.5}),
        ("d:set('n', 2)", {"a": {"b": [1, "x", None]}, "n": 2}),
        ("d:set('n', 2.25) d:del('a')", {"n": 2.25}),
        ("d:del('a') d:set('n', luaNil.new())", {"n": None}),
        ("d:del('a') d:set('n', nil)", {"n": 1.5}),
        ("d:del('a') d:set('n', print)", {"n": 1.5}),
        ("d:get('a'):get('b'):set(0, 'y') d:del('n')", {"a": {"b": ["y", "x", None]}}),
        ("d:get('a'):get('b'):del(1) d:del('n')", {"a": {"b": [1, None]}}),
        ("d:get('a'):get('b'):set(4, true) d:del('n')", {"a": {"b": [1, "x", None, None, True]}}),
        ("d:del('a') d:set('n', {1, {2, 3}})", {"n": {"1": 1, "2": [2, 3]}}),
        ("d:del('a') d:set('n', {x = {}})", {"n": {"x": []}}),
        ("d:del('a') d:set('n', {[true] = 1, [1.5] = 2})", {"n": {"true": 1, "1.5": 2}}),
        ("local t = luaTable.new() t:set('k', 'v') d:set('a', t) d:del('n')", {"a": {"k": "v"}}),
        ("local l = luaList.new() l:set(0, {a = 1}) d:set('a', l) d:del('n')", {"a": [{"a": 1}]}),
        ("d:del('n') d:set('a', {l = luaList.new()})", {"a": {"l": []}}),
        ("d:del('n') d:set('a', {x = luaNil.new()})", {"a": {"x": None}}),
    ],
)  # fmt: skip
def test_a_document_is_changed(code: str, expected: Any) -> None:
    assert changed(code, {"a": {"b": [1, "x", None]}, "n": 1.5}) == expected


@pytest.mark.parametrize(
    "code",
    [
        "assert(d:get('s') == 'x' and d:get('n') == 1.5 and d:get('t') == true)",
        "assert(d:get('nothing') == nil and d:get('null') ~= nil)",
        "assert(d:len() == 6 and d:keyExists('s') and not d:keyExists('x'))",
        "local k = d:keys() assert(k:len() == 6 and k:get(0) == 'list' and k:get(6) == nil)",
        "assert(d:get('list'):len() == 2 and d:get('list'):get(1) == 'b')",
        "assert(d:get('list'):get(-1) == nil) d:get('list'):set(-1, 1) d:get('list'):del(7)",
        "assert(d:get('o'):get('i'):get('j') == 1)",
    ],
)
def test_a_document_is_read(code: str) -> None:
    data = {"s": "x", "n": 1.5, "t": True, "null": None, "list": ["a", "b"], "o": {"i": {"j": 1}}}
    changed(code, data)


def test_numbers_that_no_script_changes_keep_their_digits() -> None:
    raw = {"a": Raw(b'{"n":1.50,"m":123456789012345678901234567890}'), "b": Raw(b"1e5")}
    response = scripted(
        "assert(d:get('b') == 100000 and d:get('a'):get('n') == 1.5)", Response(raw)
    )
    assert encode_json(response.data) == (
        b'{"a":{"n":1.50,"m":123456789012345678901234567890},"b":1e5}'
    )


def test_a_document_that_others_share_is_not_changed() -> None:
    shared = {"a": {"b": [1]}, "raw": Raw(b"[1]")}
    scripted("d:get('a'):get('b'):set(0, 2) d:get('raw'):set(0, 2)", Response(shared))
    assert shared == {"a": {"b": [1]}, "raw": Raw(b"[1]")}


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("d:get()", "need arguments"),
        ("d:set('a')", "need arguments"),
        ("d:get({})", "string expected"),
        ("d:set('a', 0/0)", "not a number of JSON"),
        ("d:set('a', {1/0})", "not a number of JSON"),
        ("local t = {} t.t = t d:set('a', t)", "nested too deeply"),
        ("luaList.new():set('a', 1)", "number expected"),
        ("luaList.new():set(0/0, 1)", "number expected"),
        ("r:isComplete(1)", "boolean expected"),
        ("r:headers('a b', '1')", "not the name of a header"),
        ("r:headers('a', '1\\n2')", "control character"),
        ("r:headerList('a', {'1'})", "must be a luaList"),
        ("local l = luaList.new() l:set(0, 1) r:headerList('a', l)", "luaList of strings"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_an_error(code: str, text: str) -> None:
    with pytest.raises(ScriptFailure, match=text):
        changed(code, {"a": 1})


def test_headers_of_a_response_are_read_and_changed() -> None:
    code = """
        assert(r:headers('X-One') == '1' and r:headers('X-No') == '')
        assert(r:headers():get('X-One'):get(1) == '2')
        r:headers('X-One', nil) r:headers('x-new', 'n')
        local l = luaList.new() l:set(0, 'a') l:set(1, 'b') r:headerList('X-List', l)
        assert(r:headerList('X-List'):len() == 2)
    """
    headers = [(b"x-one", b"1"), (b"x-one", b"2")]
    response = scripted(code, Response({}, headers=headers))
    assert list(response.headers) == [(b"x-new", b"n"), (b"x-list", b"a"), (b"x-list", b"b")]
    assert headers == [(b"x-one", b"1"), (b"x-one", b"2")]


def test_status_and_body_are_used_where_the_response_is_passed_on() -> None:
    code = "assert(r:statusCode() == 201 and r:body() == 'x') r:statusCode(404) r:body('y')"
    response = scripted(code, Response(None, body=b"x", status=201))
    assert (response.status, response.body) == (404, b"y")
    decoded = scripted("assert(r:statusCode() == 0) r:statusCode(404)", Response({}))
    assert decoded.status == 200


def test_completeness_is_read_and_changed() -> None:
    response = scripted("assert(r:isComplete()) r:isComplete(false)", Response({"a": 1}))
    assert not response.is_complete


def scripted_request(code: str, name: str = "request", **names: str) -> Request:
    """The request that ``code`` leaves; ``r`` is it."""
    request = Request(
        "POST", "/p q", {"Id": "7"}, [(b"host", b"h"), (b"x-one", b"\xff")], b"b=2&a=x%20y", b"\xfe"
    )
    session = Session(SANDBOX)
    session.bind(name, LuaRequest(request, request.path, names or None))
    session.run(SANDBOX.compile(f"local r = {name}.load() {code}", "pre"))
    return request


def test_a_request_is_read() -> None:
    scripted_request("""
        assert(r:method() == 'POST' and r:path() == '/p q' and r:query() == 'b=2&a=x%20y')
        assert(r:params('Id') == '7' and r:params('id') == '' and r:params():get('Id') == '7')
        assert(r:headers('X-ONE') == '\\255' and r:headers('X-No') == '' and r:url() == '')
        assert(r:headerList('x-one'):get(0) and r:headers():get('X-One'):len() == 1)
        assert(r:body() == '\\254')
    """)


def test_a_request_is_changed() -> None:
    request = scripted_request("""
        r:params('Id', '8') r:params('New', 9) r:query('c=3') r:body('other')
        r:headers('X-One', '\\254') r:headers('Host', nil) r:headers('X-N', 5) r:method('PUT')
        r:path('/elsewhere') assert(r:path() == '/elsewhere')
    """)
    assert request.params == {"Id": "8", "New": "9"}
    assert (request.query_string, request.body, request.method) == (b"c=3", b"other", "PUT")
    assert list(request.headers) == [(b"x-one", b"\xfe"), (b"x-n", b"5")]


def test_a_script_reads_and_sets_the_url_of_its_request() -> None:
    assert scripted_request("assert(r:url() == '')").url is None
    assert scripted_request(
        "r:url('http://b.test/x?y=1') assert(r:url() == 'http://b.test/x?y=1')"
    ).url == ("http://b.test/x?y=1")
    request = Request("GET", "/p", {"Id": "7"})
    session = Session(SANDBOX)
    session.bind(
        "request",
        LuaRequest(request, "/p", build_url=lambda request: f"http://a/{request.path}"),
    )
    session.run(SANDBOX.compile("local r = request.load() r:url(r:url() .. '/9')", "pre"))
    assert request.url == "http://a//p/9"


def test_a_number_in_a_message_has_all_its_digits() -> None:
    request = scripted_request("""
        r:params('Id', 358240051111110) r:headers('X-N', 358240051111110) r:query(1e20)
        assert(r:params(358240051111110) == '') r:body(1.5)
    """)
    assert request.params["Id"] == "358240051111110"
    assert (b"x-n", b"358240051111110") in request.headers
    assert (request.query_string, request.body) == (b"1e+20", b"1.5")


def test_a_number_in_a_document_has_all_its_digits() -> None:
    data = {"a": 358240051111110, "b": 9007199254740993, "l": [1, 2]}
    code = """
        for _, key in ipairs({'a', 'b'}) do d:set(key .. 's', 'x' .. d:get(key)) end
        d:set('bn', d:get('b')) d:set(358240051111110, d:get('l'):get('1'))
        d:set('t', {[358240051111110] = 1}) r:statusCode('404') d:del('l')
    """
    assert changed(code, data) == {
        "a": 358240051111110,
        "b": 9007199254740993,
        "as": "x358240051111110",
        "bs": "x9007199254740992",
        "bn": 9007199254740992,
        "358240051111110": 2,
        "t": {"358240051111110": 1},
    }


def test_a_context_is_the_request_as_the_client_sent_it() -> None:
    request = scripted_request(
        """
        assert(r:url() == '/p%20q?b=2&a=x%20y' and r:host() == 'h')
        assert(r:query('a') == 'x y' and r:query('z') == '')
        assert(r:params('id') == '7' and r:params():get('id') == '7')
        r:query('a', '1&2') r:params('id', '8') r:host('other') r:headers('X-One', 'y')
        """,
        "ctx",
        Id="id",
    )
    assert (request.query_string, request.params) == (b"a=1%262&b=2", {"Id": "8"})
    assert list(request.headers) == [(b"host", b"other"), (b"x-one", b"y")]
    assert scripted_request("r:url('/n%20w?x=1')", "ctx", Id="id").path == "/n w"


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip

WALK = """
    local walk
    local function copy(value, get, keys)
        for i = 0, keys:len() - 1 do
            local key = get(keys, i)
            local each = value:get(key)
            if type(each) == 'userdata' and each.keys then copy(each, get, each:keys()) end
            if type(each) == 'userdata' and each.len then each:len() end
            if each ~= nil then value:set(key, each) end
        end
    end
    copy(d, function(keys, i) return keys:get(i) end, d:keys())
"""


@given(st.dictionaries(st.text(), documents, max_size=5))
def test_any_document_can_be_read_and_written_by_a_script(data: dict[str, Any]) -> None:
    lone = json.loads(json.dumps(data).encode().decode("utf-8", "replace"))
    shallow = {
        key.encode(errors="replace").decode(): Raw(
            json.dumps(value, ensure_ascii=False).encode(errors="replace")
        )
        for key, value in lone.items()
    }
    response = scripted(WALK, Response(dict(shallow)))
    assert (response.data or {}).keys() == shallow.keys()
    encode_json(response.data)


@given(
    st.lists(st.tuples(st.sampled_from([b"x-one", b"x-two"]), st.binary(max_size=30)), max_size=5),
    st.binary(max_size=50),
    st.text(max_size=20),
    st.binary(max_size=20),
)
def test_any_request_can_be_read_and_written_by_a_script(
    headers: list[tuple[bytes, bytes]], body: bytes, value: str, query: bytes
) -> None:
    request = Request("GET", f"/{value}", {"Id": value}, headers, query, body)
    session = Session(SANDBOX)
    session.bind("request", LuaRequest(request, request.path))
    code = """
        local r = request.load()
        r:body(r:body()) r:query(r:query()) r:params('Id', r:params('Id')) r:path(r:path())
        for _, name in ipairs({'X-One', 'X-Two'}) do
            pcall(function() r:headerList(name, r:headerList(name)) end)
            pcall(function() r:headers(name, r:headers(name)) end)
        end
        r:headers():keys() r:params():keys()
    """
    session.run(SANDBOX.compile(code, "pre"))
    assert (request.body, request.query_string) == (body, query)
    assert not any(
        b"\n" in each for pair in request.headers for each in pair if pair not in headers
    )


LARGE_STRING_BYTES = {
    "list": (b"[" + b"1," * 39_990 + b"1]", b"[" + b"1," * 8_000_000 + b"1]"),
    "keys": tuple(
        b"{" + b",".join(b'"%x":1' % number for number in range(count)) + b"}"
        for count in (39_990, 1_000_000)
    ),
    "text": tuple(b'"' + b"\\n" * count + b'"' for count in (2_090_000, 30_000_000)),
}
"""What is just small enough, and what is much too large."""


@pytest.mark.parametrize(
    ("fits", "is_too_large"), LARGE_STRING_BYTES.values(), ids=LARGE_STRING_BYTES
)
def test_a_part_of_a_document_that_takes_too_long_to_decode_is_refused(
    fits: bytes, is_too_large: bytes
) -> None:
    with watched(0.2):
        scripted("assert(d:get('a'))", Response({"a": Raw(fits)}))
    with watched(0.2), pytest.raises(ScriptFailure, match="a script or a hook"):
        scripted("d:get('a')", Response({"a": Raw(is_too_large)}))
    with watched(0.2):
        response = scripted("d:set('b', 1)", Response({"a": Raw(is_too_large)}))
    assert response.data is not None
    assert response.data["a"] == Raw(is_too_large)


@pytest.mark.parametrize(
    ("size", "problem"), [(MAX_STRING_BYTES, ""), (MAX_STRING_BYTES + 1, "a string of more")]
)
def test_a_body_up_to_a_bound_is_a_string_of_a_script(size: int, problem: str) -> None:
    body = bytes(size)
    code = "local is_read, problem = pcall(function() r:body(r:body()) end) r:body(problem or '')"
    with watched(0.2):
        response = scripted(code, Response({}, body=body))
    assert problem in (response.body or b"").decode()
    assert bool(response.body) == bool(problem)


def test_a_table_of_many_headers_takes_no_longer_than_their_number_allows() -> None:
    headers = [(b"x-%d" % (number // 2), b"%d" % number) for number in range(20_000)]
    with watched():
        scripted(
            "local h = r:headers() assert(h:len() == 10000 and h:get('X-0'):get(1) == '1')",
            Response({}, headers=headers),
        )
