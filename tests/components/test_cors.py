"""The rules of rs/cors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.cors import CorsSettings, Policy, are_names_of, build_origin_test

from .layers import layered

PREFLIGHT = {"origin": "https://a.test", "access-control-request-method": "GET"}
ALLOW = "access-control-allow-"


def preflight(settings: CorsSettings, **headers: str) -> dict[str, str]:
    asked = PREFLIGHT | {name.replace("_", "-"): value for name, value in headers.items()}
    answered, _ = Policy(settings).preflight(
        [(name.encode(), value.encode()) for name, value in asked.items()]
    )
    return {name.decode(): value.decode() for name, value in answered}


@pytest.mark.parametrize(
    ("allowed", "origin", "is_allowed"),
    [
        ((), b"null", True),
        (("https://a.test", "*"), b"anything", True),
        (("https://A.test",), b"HTTPS://a.TEST", True),
        (("https://a.test",), b"https://a.test:443", False),
        (("https://a.test",), b"https://a.test.evil", False),
        (("https://*.a.test",), b"https://x.y.a.test", True),
        (("https://*.a.test",), b"https://a.test", False),
        (("https://ab*ba",), b"https://aba", False),
        (("*.a.test",), b"http://evil/.a.test", True),
        (("a*b*c",), b"a-b*c", True),
        (("a*b*c",), b"a-b-c", False),
    ],
)
def test_origins(allowed: tuple[str, ...], origin: bytes, is_allowed: bool) -> None:
    assert build_origin_test(allowed)(origin) is is_allowed


@pytest.mark.parametrize(
    ("values", "are"),
    [
        ([b"x-one"], True),
        ([b"content-type,x-one"], True),
        ([b"content-type,\tx-one "], True),
        ([b"content-type,  x-one"], False),
        ([b"x-one,content-type"], False),
        ([b"x-one,x-one"], False),
        ([b"X-One"], False),
        ([b"content-type", b"x-one"], True),
        ([b"x-one", b"content-type"], False),
        ([b"," * 15], True),
        ([b"," * 16], False),
        ([b""], True),
        ([b" "], True),
        ([b"x-other"], False),
    ],
)
def test_names_of_headers_as_browsers_write_them(values: list[bytes], are: bool) -> None:
    assert are_names_of([b"content-type", b"x-one"], values) is are


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_whatever_names_are_sent_only_allowed_ones_pass(values: list[bytes]) -> None:
    allowed = [b"a", b"b", b"c-d"]
    if are_names_of(allowed, values):
        names = [name.strip(b" \t") for name in b",".join(values).split(b",")]
        assert {name for name in names if name} <= set(allowed)


@given(st.sets(st.sampled_from(["a", "b", "c-d", "e"]), min_size=1))
def test_whatever_a_browser_sends_of_allowed_names_passes(names: set[str]) -> None:
    assert are_names_of([b"a", b"b", b"c-d", b"e"], [", ".join(sorted(names)).encode()])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12h", "43200"), ("-1s", "0"), ("500ms", None), ("", None), ("1 day", None)],
)
def test_max_age(text: str, seconds: str | None) -> None:
    headers = preflight(CorsSettings(max_age=text))
    assert headers.get("access-control-max-age") == seconds


def test_a_private_network_is_allowed_where_it_is_configured() -> None:
    settings = CorsSettings(allow_private_network=True)
    asked = preflight(settings, access_control_request_private_network="true")
    assert asked[f"{ALLOW}private-network"] == "true"
    assert asked["vary"].endswith(", Access-Control-Request-Private-Network")
    assert f"{ALLOW}private-network" not in preflight(settings)
    plain = preflight(CorsSettings(), access_control_request_private_network="true")
    assert f"{ALLOW}private-network" not in plain


def test_of_several_origins_the_one_that_was_checked_is_allowed() -> None:
    policy = Policy(CorsSettings(allow_origins=("https://a.test",)))
    answered, _ = policy.preflight(
        [
            (b"origin", b"https://a.test"),
            (b"origin", b"https://evil.test"),
            (b"access-control-request-method", b"GET"),
        ]
    )
    assert [value for name, value in answered if name == b"access-control-allow-origin"] == [
        b"https://a.test"
    ]


def test_the_methods_of_a_preflight_are_case_sensitive_and_options_is_always_one() -> None:
    settings = CorsSettings(allow_methods=("PUT",))
    for method, is_allowed in (("PUT", True), ("put", False), ("OPTIONS", True), ("GET", False)):
        answered = preflight(settings, access_control_request_method=method)
        assert (f"{ALLOW}methods" in answered) is is_allowed


@pytest.mark.anyio
async def test_a_preflight_goes_to_the_router_with_options_passthrough() -> None:
    cors = {"options_passthrough": True}
    async with layered({"security/cors": cors, "router": {"auto_options": True}}) as ask:
        reply = await ask("OPTIONS /shop", PREFLIGHT)
        assert (reply.status, reply.headers["allow"]) == (200, "GET")
        assert reply.headers[f"{ALLOW}origin"] == "*"


@pytest.mark.anyio
async def test_an_invalid_status_means_204() -> None:
    for status, answered in ((200, 200), (0, 204), (99, 204), (1000, 204)):
        async with layered({"security/cors": {"options_success_status": status}}) as ask:
            assert (await ask("OPTIONS /shop", PREFLIGHT)).status == answered


@pytest.mark.anyio
async def test_the_reason_of_a_refusal_is_logged_with_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    cors = {"allow_origins": ["https://b.test"]}
    for debug, lines in ((False, 0), (True, 1)):
        async with layered({"security/cors": cors | {"debug": debug}}) as ask:
            await ask("OPTIONS /shop", PREFLIGHT | {"cookie": "secret=1"})
            assert sum("is refused for its origin" in line for line in caplog.messages) == lines
    assert "secret" not in caplog.text
