"""``auth/basic``."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from anyio import Event, create_task_group, fail_after, sleep, wait_all_tasks_blocked
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.auth.basic import (
    MAX_CONCURRENT_CHECKS,
    MAX_REMEMBERED_LOGINS,
    MAX_WAITING_LOGINS,
    BasicGuard,
    PasswordChecker,
    Users,
    read_login,
    read_users,
)
from gateway.components.auth.settings import BasicSettings
from gateway.components.ratelimit.clients import build_name_network
from gateway.config.findings import ConfigError
from gateway.config.structs import Service
from gateway.core.asgi import ASGIApp, Message, Scope
from gateway.core.proxy import Request
from gateway.errors import Refused

from ...http.service import serving
from ...router.support import Client, Reply, http_scope
from .support import echoing, get, opened

pytestmark = pytest.mark.anyio


def hashed(password: str) -> str:
    """As ``htpasswd -B`` writes it; the cheapest that there is."""
    text = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()
    return text.replace("$2b$", "$2y$")


def login(name: str, password: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", b"Basic " + b64encode(f"{name}:{password}".encode()))]


def logins_of(
    users: Users, most_waiting: int = MAX_WAITING_LOGINS
) -> tuple[BasicGuard, PasswordChecker]:
    passwords = PasswordChecker(most_waiting)
    return BasicGuard(users, passwords, build_name_network(Service())), passwords


def asked(name: str, password: str, remote: str = "192.0.2.1", told: str = "") -> Request:
    headers = login(name, password)
    if told:
        headers.append((b"x-forwarded-for", told.encode()))
    return Request("GET", "/", {}, headers, remote=remote)


async def status_of(logins: BasicGuard, request: Request) -> int:
    """200: it is admitted."""
    try:
        if (waiting := logins.guard(request)) is not None:
            await waiting
    except Refused as error:
        return error.status
    return 200


class Leaving(Client):
    """A client that goes away when ``goes`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.goes = Event()

    async def receive(self) -> Message:
        if self._body:
            return await super().receive()
        await self.goes.wait()
        return {"type": "http.disconnect"}


async def send(app: ASGIApp, scope: Scope, client: Client) -> None:
    await app(scope, client.receive, client.send)


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


async def test_a_refusal_has_a_challenge() -> None:
    async with opened(protected("http://127.0.0.1:9999", users={"a": hashed("b")})) as app:
        for headers in ([], login("a", "c")):
            reply = await get(app, "/a", headers=headers)
            assert (reply.status, reply.body) == (401, b"")
            assert reply.headers["www-authenticate"].startswith("Basic realm=")


async def test_users_of_the_file_and_of_the_configuration_are_merged(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    path.write_text(f"# users\nann:{hashed('old')}\n\nbob:{hashed('b')}\n")
    users = read_users(BasicSettings(htpasswd_path=str(path), users={"ann": hashed("new")}))
    logins, _ = logins_of(users)
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


async def test_without_users_every_request_is_refused() -> None:
    async with opened(protected("http://127.0.0.1:9999")) as app:
        assert (await get(app, "/a", headers=login("ann", "a"))).status == 401


async def test_correct_and_wrong_logins_are_remembered_within_separate_bounds() -> None:
    logins, passwords = logins_of({b"ann": hashed("a").encode()})
    many = {str(number).encode(): None for number in range(MAX_REMEMBERED_LOGINS)}
    passwords._right.update(many)
    passwords._wrong.update(many)
    for name, password, status in (("ann", "a", 200), ("ann", "b", 401), ("eve", "a", 401)):
        request = asked(name, password)
        assert await status_of(logins, request) == status
        if status == 200:
            assert logins.guard(request) is None
        else:
            with pytest.raises(Refused, match="wrong name or password"):
                logins.guard(request)
    assert (len(passwords._right), len(passwords._wrong)) == (
        MAX_REMEMBERED_LOGINS,
        MAX_REMEMBERED_LOGINS,
    )


class Checks:
    """Stands for bcrypt: remembers what was checked in which order, and waits to be let on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passwords: list[bytes] = []
        self._let_on = threading.Semaphore(0)
        monkeypatch.setattr("gateway.components.auth.basic._is_right", self._is_right)

    def _is_right(self, password: bytes, hashed: bytes) -> bool:
        self.passwords.append(password)
        self._let_on.acquire(timeout=60)
        return password == b"right"

    def let_on(self, number: int = 10_000) -> None:
        """So many of them end."""
        self._let_on.release(number)

    async def until_begun(self, number: int = MAX_CONCURRENT_CHECKS) -> None:
        with fail_after(60):
            while len(self.passwords) < number:
                await sleep(0.001)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Generator[Checks]:
    checks = Checks(monkeypatch)
    yield checks
    checks.let_on()


ANN = {b"ann": hashed("right").encode()}


@pytest.mark.parametrize(
    "attacks",
    [
        lambda number: ("192.0.2.1", "", "ann"),  # from one address
        lambda number: ("192.0.2.1", f"198.51.100.{number}", "ann"),  # that claims to be many
        lambda number: ("192.0.2.1", "", f"name{number}"),  # with many names
        lambda number: (f"2001:db8:1:2::{number}", "", "ann"),  # from one network
    ],
)
async def test_a_correct_login_does_not_wait_for_the_wrong_ones_of_another_client(
    checks: Checks, attacks: Callable[[int], tuple[str, str, str]]
) -> None:
    logins, _ = logins_of(ANN)
    async with create_task_group() as tasks:
        for number in range(200):
            remote, told, name = attacks(number)
            tasks.start_soon(status_of, logins, asked(name, f"wrong{number}", remote, told))
        await checks.until_begun()
        tasks.start_soon(status_of, logins, asked("ann", "right", "203.0.113.1"))
        await wait_all_tasks_blocked()
        checks.let_on(MAX_CONCURRENT_CHECKS)
        await checks.until_begun(2 * MAX_CONCURRENT_CHECKS)
        assert b"right" in checks.passwords
        checks.let_on()
    assert len(checks.passwords) <= MAX_CONCURRENT_CHECKS + MAX_WAITING_LOGINS


async def test_a_correct_login_does_not_wait_for_another_name_from_its_own_address(
    checks: Checks,
) -> None:
    logins, _ = logins_of(ANN)
    async with create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(status_of, logins, asked("bob", f"wrong{number}"))
        await checks.until_begun()
        tasks.start_soon(status_of, logins, asked("ann", "right"))
        await wait_all_tasks_blocked()
        checks.let_on(MAX_CONCURRENT_CHECKS)
        await checks.until_begun(2 * MAX_CONCURRENT_CHECKS)
        assert b"right" in checks.passwords
        checks.let_on()


async def test_logins_beyond_the_queue_are_refused(checks: Checks) -> None:
    logins, passwords = logins_of(ANN, most_waiting=1)
    statuses: list[int] = []

    async def ask(number: int) -> None:
        statuses.append(await status_of(logins, asked("ann", f"wrong{number}")))

    async with create_task_group() as tasks:
        for number in range(MAX_CONCURRENT_CHECKS):
            tasks.start_soon(ask, number)
        await checks.until_begun()
        for number in range(MAX_CONCURRENT_CHECKS, MAX_CONCURRENT_CHECKS + 3):
            tasks.start_soon(ask, number)
        await wait_all_tasks_blocked()
        assert passwords.readiness()["waiting"] == 1
        assert statuses == [503, 503]
        checks.let_on()
    assert passwords.readiness()["waiting"] == 0
    assert statuses == [503, 503, *[401] * (MAX_CONCURRENT_CHECKS + 1)]


async def test_the_same_wrong_login_is_checked_once(checks: Checks) -> None:
    logins, _ = logins_of(ANN)
    checks.let_on()
    async with create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(status_of, logins, asked("ann", "wrong"))
    assert len(checks.passwords) <= MAX_CONCURRENT_CHECKS


async def test_logins_that_wait_leave_room_for_other_requests(checks: Checks) -> None:
    own = {"extra_config": {"gateway": {"max_requests": 40}}}
    with serving(echoing) as service:
        free = {"endpoint": "/free", "backend": protected(service.url)["backend"]}
        users = {"ann": hashed("right")}
        async with opened(protected(service.url, users=users), free, **own) as app:
            async with create_task_group() as tasks:
                replies: list[Reply] = []

                async def attack(number: int) -> None:
                    headers = login("ann", f"wrong{number}")
                    replies.append(await get(app, "/a", headers=headers))

                for number in range(100):
                    tasks.start_soon(attack, number)
                await checks.until_begun()
                await wait_all_tasks_blocked()
                assert (await get(app, "/free")).status == 200
                checks.let_on()
    statuses = [reply.status for reply in replies]
    assert statuses.count(401) == MAX_CONCURRENT_CHECKS + 10
    assert statuses.count(503) == 100 - MAX_CONCURRENT_CHECKS - 10
    assert all("retry-after" in reply.headers for reply in replies if reply.status == 503)


async def test_a_login_whose_client_leaves_is_not_checked(checks: Checks) -> None:
    users = {"ann": hashed("right")}
    async with opened(protected("http://127.0.0.1:9999", users=users)) as app:
        async with create_task_group() as tasks:
            for number in range(MAX_CONCURRENT_CHECKS):
                tasks.start_soon(partial(get, app, "/a", headers=login("ann", f"wrong{number}")))
            await checks.until_begun()
            leaving = Leaving()
            async with create_task_group() as leavers:
                scope = http_scope("GET", "/a", headers=login("ann", "left"))
                leavers.start_soon(send, app, scope, leaving)
                await wait_all_tasks_blocked()
                leaving.goes.set()
            assert leaving.sent == []
            checks.let_on()
    assert b"left" not in checks.passwords


async def test_a_body_that_comes_while_a_login_is_checked_is_not_lost(checks: Checks) -> None:
    with serving(echoing) as service:
        config = protected(service.url, users={"ann": hashed("right")})
        config["method"] = config["backend"][0]["method"] = "POST"
        async with opened(config) as app:
            client = Client([b"one ", b"two ", b"three"])
            async with create_task_group() as tasks:
                scope = http_scope("POST", "/a", headers=login("ann", "right"))
                tasks.start_soon(send, app, scope, client)
                await wait_all_tasks_blocked()
                checks.let_on()
    assert client.reply.status == 200
    assert service.requests[0].endswith(b"one two three")


def test_different_names_and_passwords_have_different_digests() -> None:
    assert read_login(login("a", "b:c")[0][1]) == (b"a", b"b:c")


@pytest.mark.parametrize(
    "header", [b"", b"Basic", b"Basic ", b"Basic !", b"Basic YQ", b"Basic YQ==", b"Bearer YTpi"]
)
def test_an_invalid_header_has_no_login(header: bytes) -> None:
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
async def test_invalid_settings_stop_the_start(
    tmp_path: Path, users: dict[str, str], content: str | bytes | None, word: str
) -> None:
    path = tmp_path / "htpasswd"
    if content:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    settings = {"users": users, **({} if content is None else {"htpasswd_path": str(path)})}
    with pytest.raises(ConfigError, match=word):
        async with opened(protected("http://127.0.0.1:9999", **settings)):
            pass
