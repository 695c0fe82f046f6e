"""``auth/basic``."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.basic import REMEMBERED, Logins, read_login, read_users
from gateway.auth.settings import BasicSettings
from gateway.config.findings import ConfigError
from gateway.errors import Refused
from gateway.proxy import Request

from ..http.service import serving
from .support import echoing, get, opened

pytestmark = pytest.mark.anyio


def hashed(password: str) -> str:
    """As ``htpasswd -B`` writes it; the cheapest that there is."""
    text = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()
    return text.replace("$2b$", "$2y$")


def login(name: str, password: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", b"Basic " + b64encode(f"{name}:{password}".encode()))]


def protected(host: str, **settings: Any) -> dict[str, Any]:
    return {
        "endpoint": "/a",
        "backend": [{"host": [host], "url_pattern": "/"}],
        "extra_config": {"auth/basic": settings},
    }


async def test_only_right_passwords_pass() -> None:
    users = {"ann": hashed("pä:ss"), "bob": hashed("x" * 80)}
    with serving(echoing) as service:
        async with opened(protected(service.url, users=users)) as app:
            statuses = [
                (await get(app, "/a", headers=headers)).status
                for headers in (
                    login("ann", "pä:ss"),
                    login("ann", "pä:ss"),  # which is remembered
                    login("ann", "pass"),
                    login("ann", ""),
                    login("eve", "pä:ss"),
                    login("", ""),
                    login("bob", "x" * 80),
                    [],
                    [(b"authorization", b"Bearer token")],
                )
            ]
    assert statuses == [200, 200, 401, 401, 401, 401, 200, 401, 401]
    assert len(service.requests) == 3


async def test_who_is_refused_is_told_what_to_show() -> None:
    async with opened(protected("http://127.0.0.1:9999", users={"a": hashed("b")})) as app:
        for headers in ([], login("a", "c")):
            reply = await get(app, "/a", headers=headers)
            assert (reply.status, reply.body) == (401, b"")
            assert reply.headers["www-authenticate"].startswith("Basic realm=")


async def test_users_of_a_file_and_of_the_configuration_are_put_together(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    path.write_text(f"# users\nann:{hashed('old')}\n\nbob:{hashed('b')}\n")
    users = read_users(BasicSettings(htpasswd_path=str(path), users={"ann": hashed("new")}))
    logins = Logins(users)
    for name, password in (("ann", "new"), ("bob", "b")):
        waiting = logins.guard(Request("GET", "/", {}, login(name, password)))
        assert waiting is not None
        await waiting
    waiting = logins.guard(Request("GET", "/", {}, login("ann", "old")))
    assert waiting is not None
    with pytest.raises(Refused):
        await waiting


async def test_an_endpoint_has_the_users_of_the_root_or_its_own() -> None:
    root = {"extra_config": {"auth/basic": {"users": {"ann": hashed("a")}}}}
    with serving(echoing) as service:
        own = {**protected(service.url, users={"bob": hashed("b")}), "endpoint": "/own"}
        async with opened(protected(service.url), own, **root) as app:
            assert (await get(app, "/a", headers=login("ann", "a"))).status == 200
            assert (await get(app, "/a", headers=login("bob", "b"))).status == 401
            assert (await get(app, "/own", headers=login("bob", "b"))).status == 200
            assert (await get(app, "/own", headers=login("ann", "a"))).status == 401


async def test_without_users_nobody_passes() -> None:
    async with opened(protected("http://127.0.0.1:9999")) as app:
        assert (await get(app, "/a", headers=login("ann", "a"))).status == 401


async def test_remembered_logins_have_a_bound_and_failures_are_none() -> None:
    logins = Logins({b"ann": hashed("a").encode()})
    logins._good.update({str(number).encode(): None for number in range(REMEMBERED)})
    waiting = logins.guard(Request("GET", "/", {}, login("ann", "a")))
    assert waiting is not None
    await waiting
    assert len(logins._good) == REMEMBERED
    for _ in range(2):
        waiting = logins.guard(Request("GET", "/", {}, login("ann", "b")))
        assert waiting is not None
        with pytest.raises(Refused):
            await waiting


def test_a_name_and_a_password_are_not_taken_for_others() -> None:
    assert read_login(login("a", "b:c")[0][1]) == (b"a", b"b:c")


@pytest.mark.parametrize(
    "header", [b"", b"Basic", b"Basic ", b"Basic !", b"Basic YQ", b"Basic YQ==", b"Bearer YTpi"]
)
def test_what_is_no_login_is_none(header: bytes) -> None:
    assert read_login(header) is None


@given(st.binary() | st.binary().map(lambda data: b"Basic " + data))
def test_no_header_raises(header: bytes) -> None:
    read_login(header)


@pytest.mark.parametrize(
    ("users", "content", "word"),
    [
        ({"ann": "plain"}, None, 'password of "ann"'),
        ({}, "ann:$apr1$x$y", 'password of "ann"'),
        ({}, "ann", 'password of "ann"'),
        ({}, b"\xff", "not UTF-8"),
        ({}, "", "cannot read"),
    ],
)
async def test_what_cannot_be_used_stops_the_start(
    tmp_path: Path, users: dict[str, str], content: str | bytes | None, word: str
) -> None:
    path = tmp_path / "htpasswd"
    if content:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    settings = {"users": users, **({} if content is None else {"htpasswd_path": str(path)})}
    with pytest.raises(ConfigError, match=word):
        async with opened(protected("http://127.0.0.1:9999", **settings)):
            pass
