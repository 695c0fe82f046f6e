"""Hosts, schemes, headers for browsers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import ConfigError
from gateway.components.secure import SecureSettings, build_headers, build_host_test, redirect

from ..router.support import http_scope
from .layers import layered

pytestmark = pytest.mark.anyio

PROXY = {"router": {"trusted_proxies": ["10.0.0.0/8"]}}


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        (b"a.test", True),
        (b"ab.test", True),
        (b"x.a.test", False),
        (b"a.test.evil", False),
        (b"\xff", False),
        (b"", False),
    ],
)
def test_a_pattern_has_to_match_the_whole_host(host: bytes, is_allowed: bool) -> None:
    settings = SecureSettings(allowed_hosts=("a.test|ab.test",), allowed_hosts_are_regex=True)
    is_host = build_host_test(settings)
    assert is_host is not None
    assert bool(is_host(host)) is is_allowed


async def test_an_invalid_pattern_stops_the_start_with_its_path() -> None:
    secure = {"allowed_hosts": ["a", "b)|(c"], "allowed_hosts_are_regex": True}
    with pytest.raises(
        ConfigError, match=r'\$\.extra_config\["security/http"\]\.allowed_hosts\[1\]'
    ):
        async with layered({"security/http": secure}):
            pass


async def test_a_request_without_a_host_is_refused() -> None:
    async with layered({"security/http": {"allowed_hosts": ["a.test"]}}) as ask:
        assert (await ask("GET /__debug/", {"host": ""})).status == 500


@pytest.mark.parametrize(
    ("client", "is_believed"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("192.0.2.1", False), ("", False)],
)
async def test_the_headers_of_a_proxy_count_only_from_trusted_proxies(
    client: str, is_believed: bool
) -> None:
    secure = {
        "allowed_hosts": ["gateway.test", "other.test"],
        "host_proxy_headers": ["X-Host"],
        "ssl_redirect": True,
        "ssl_proxy_headers": {"X-Proto": "https"},
    }
    headers = {"x-host": "other.test", "x-proto": "https"}
    async with layered({"security/http": secure, **PROXY}) as ask:
        reply = await ask("GET /__debug/", headers, client=(client, 1))
        assert (reply.status == 200) is is_believed
        if not is_believed:
            assert reply.headers["location"] == "https://gateway.test/__debug/"
    async with layered({"security/http": secure}) as ask:
        assert (await ask("GET /__debug/", headers, client=(client, 1))).status == 200


@pytest.mark.parametrize(
    ("extra", "scheme", "value"),
    [
        ({}, "https", "max-age=60"),
        ({}, "http", None),
        ({"force_sts_header": True}, "http", "max-age=60"),
        ({"sts_include_subdomains": True}, "https", "max-age=60; includeSubDomains"),
        ({"is_development": True, "force_sts_header": True}, "https", None),
        ({"sts_seconds": 0, "force_sts_header": True}, "https", None),
    ],
)
async def test_strict_transport_security_is_sent_over_tls(
    extra: dict[str, object], scheme: str, value: str | None
) -> None:
    async with layered({"security/http": {"sts_seconds": 60, **extra}}) as ask:
        reply = await ask("GET /__debug/", scheme=scheme)
        assert reply.headers.get("strict-transport-security") == value


def test_a_value_of_several_lines_becomes_one() -> None:
    settings = SecureSettings(content_security_policy="default-src 'self';\n  img-src *\n")
    assert dict(build_headers(settings)) == {
        b"content-security-policy": b"default-src 'self'; img-src *"
    }


@pytest.mark.parametrize(
    ("method", "target", "location"),
    [
        ("GET", "/a%20b?x=1&y=%3C", "https://a.test:80/a%20b?x=1&y=%3C"),
        ("HEAD", '/"><script>', "https://a.test:80/%22%3E%3Cscript%3E"),
        ("DELETE", "//evil.test", "https://a.test:80//evil.test"),
    ],
)
async def test_a_redirect_keeps_path_and_query(method: str, target: str, location: str) -> None:
    async with layered({"security/http": {"ssl_redirect": True}}) as ask:
        reply = await ask(f"{method} {target}", {"host": "a.test:80"})
        # What is no endpoint is redirected too: the router's own redirects come first.
        assert (reply.status, reply.headers["location"]) == (301, location)
        assert (b"<a href=" in reply.body) is (method != "DELETE")


@pytest.mark.parametrize("host", [b"", b"a.test/evil", b"a@b", b"a b", b"a\xe9", b"a?b", b"a\\b"])
def test_there_is_no_redirect_to_an_invalid_host(host: bytes) -> None:
    assert redirect(http_scope("GET", "/"), host).body == b"Bad Host\n"


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=20))
def test_any_redirect_is_one_line_of_ascii(path: bytes, query: bytes, host: bytes) -> None:
    scope = http_scope("GET", "/", raw_path=b"/" + path, query_string=query)
    answer = redirect(scope, host)
    for _, value in answer.headers:
        assert value.isascii()
        assert value.decode().isprintable()
