"""``auth/revoker``: the list, its file, its interface."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from anyio import wait_all_tasks_blocked

from gateway.app.service import open_gateway
from gateway.components.auth.claims import Claims
from gateway.components.auth.deny_list import DenyList, Full, open_database
from gateway.config.findings import ConfigError
from gateway.core.asgi import ASGIApp
from gateway.core.tasks import open_tasks
from gateway.errors import GatewayError

from ...http.service import serving
from ...router.support import Client, Reply, ask, http_scope
from .support import echoing, get, signed, validating

pytestmark = pytest.mark.anyio


def revoked_list(*names: str, ttl: float = 60.0, most: int = 10, path: str = "") -> DenyList:
    return DenyList(names or ("jti",), ttl, most, path)


async def test_what_was_added_is_revoked_and_nothing_else() -> None:
    revocations = revoked_list("jti", "aud", "org.id")
    assert await revocations.add({"jti": "a", "org": {"id": 7}, "sub": "x"}) == 2
    revoked: list[Claims] = [{"jti": "a"}, {"aud": ["b"], "jti": "a"}, {"org": {"id": 7}}]
    for claims in revoked:
        assert revocations.is_revoked(claims)
    for other in ({}, {"jti": "b"}, {"sub": "x"}, {"aud": "a"}, {"jti": None}):
        assert not revocations.is_revoked(other)


async def test_one_of_several_values_is_enough() -> None:
    revocations = revoked_list("aud")
    await revocations.add({"aud": "b"})
    assert revocations.is_revoked({"aud": ["a", "b"]})


@pytest.mark.parametrize("name", ["", "revoked"])
async def test_a_revocation_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    path = str(tmp_path / name) if name else ""
    revocations = revoked_list(most=1, path=path)
    monkeypatch.setattr("gateway.components.auth.deny_list.time", lambda: 1000.0)
    async with revocations.opened():
        await revocations.add({"jti": "a"})
        with pytest.raises(Full):
            await revocations.add({"jti": "b"})
        monkeypatch.setattr("gateway.components.auth.deny_list.time", lambda: 1060.0)
        assert not revocations.is_revoked({"jti": "a"})
        await revocations.add({"jti": "b"})
        assert revocations.readiness()["count"] == 1
        assert not name or rows_of(path) == [("jti-b", 1120.0)]


async def test_a_file_keeps_revocations_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "revoked"
    before = revoked_list(path=str(path))
    async with before.opened():
        await before.add({"jti": "a\n\0b"})
    after = revoked_list(path=str(path))
    async with after.opened():
        assert after.is_revoked({"jti": "a\n\0b"})
        assert not after.is_revoked({"jti": "a\n"})
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_file_may_be_deleted_while_the_gateway_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "revoked"
    async with (before := revoked_list(path=str(path))).opened():
        await before.add({"jti": "a"})
    path.unlink()
    async with (after := revoked_list(path=str(path))).opened():
        assert not after.is_revoked({"jti": "a"})
        await after.add({"jti": "b"})
        assert after.is_revoked({"jti": "b"})


async def test_the_start_removes_what_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "revoked")
    monkeypatch.setattr("gateway.components.auth.deny_list.time", lambda: 1000.0)
    async with (revocations := revoked_list(path=path)).opened():
        await revocations.add({"jti": "a"})
        monkeypatch.setattr("gateway.components.auth.deny_list.time", lambda: 1030.0)
        for jti in ("b", "b"):
            await revocations.add({"jti": jti})
    assert rows_of(path) == [("jti-a", 1060.0), ("jti-b", 1090.0)]
    monkeypatch.setattr("gateway.components.auth.deny_list.time", lambda: 1060.0)
    async with revoked_list(path=path).opened():
        assert rows_of(path) == [("jti-b", 1090.0)]


def rows_of(path: str) -> list[tuple[str, float]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT entry, until FROM revoked ORDER BY number").fetchall()


REVOKES = """
import sys, anyio
from gateway.components.auth.deny_list import DenyList

async def main():
    revocations = DenyList(["jti"], 1e9, 10**6, sys.argv[1])
    async with revocations.opened():
        for number in range(10**6):
            await revocations.add({"jti": str(number)})
            print(number, flush=True)

anyio.run(main)
"""


def started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def test_what_one_process_revokes_is_revoked_in_another_also_when_it_is_killed(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "revoked")
    here = revoked_list(path=path, most=10**6)
    command = [sys.executable, "-c", REVOKES, path]
    async with here.opened():
        with started(command) as process:
            assert process.stdout is not None
            for _ in range(200):
                assert here.is_revoked({"jti": process.stdout.readline().strip()})
                await here.add({"jti": "here"})
            process.kill()
            reported = 200 + len(process.stdout.read().splitlines())
    after = revoked_list(path=path, most=10**6)
    async with after.opened():
        for revocations in (here, after):
            assert all(revocations.is_revoked({"jti": str(n)}) for n in range(reported))
        assert after.is_revoked({"jti": "here"})


async def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    settings = {**ROOT, "file": str(tmp_path / "revoked")}
    document = {"version": 3, "extra_config": {"auth/revoker": settings}}
    async with open_gateway(document) as gateway:
        replies = [await post(gateway.management, "add", {"jti": "a"})]
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
        try:
            replies.append(await post(gateway.management, "add", {"jti": "b"}))
            checks = [await post(gateway.management, "check", {"jti": jti}) for jti in "ab"]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        replies.append(await post(gateway.management, "add", {"jti": "c"}))
    assert [reply.status for reply in replies] == [200, 503, 200]
    assert "the revocation cannot be stored: " in replies[1].json()["error"]
    assert [check.json()["revoked"] for check in checks] == [True, False]
    assert [entry for entry, _ in rows_of(settings["file"])] == ["jti-a", "jti-c"]


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_a_file_that_was_deleted_under_a_gateway_stores_nothing(
    tmp_path: Path, is_replaced: bool
) -> None:
    path = tmp_path / "revoked"
    async with (revocations := revoked_list(path=str(path))).opened():
        await revocations.add({"jti": "a"})
        for suffix in ("", "-wal", "-shm"):
            (tmp_path / f"revoked{suffix}").unlink()
        if is_replaced:
            open_database(str(path)).close()
        with pytest.raises(sqlite3.Error, match="replaced" if is_replaced else "unable to open"):
            await revocations.add({"jti": "b"})
        assert revocations.is_revoked({"jti": "a"})


async def test_a_file_that_is_locked_does_not_hold_the_event_loop(tmp_path: Path) -> None:
    path = str(tmp_path / "revoked")
    async with (revocations := revoked_list(path=path)).opened():
        await revocations.add({"jti": "a"})
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with open_tasks() as adding:
                adding.start_soon(revocations.add, {"jti": "b"})
                await wait_all_tasks_blocked()
                assert revocations.is_revoked({"jti": "a"})
                other.execute("COMMIT")
        assert revocations.is_revoked({"jti": "b"})


@pytest.mark.parametrize("content", [b"ab", b'[99999999999, "jti-a"]\n', b"x" * 5000])
async def test_a_file_of_another_format_stops_the_start_and_is_kept(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "revoked"
    path.write_bytes(content)
    document = {"version": 3, "extra_config": {"auth/revoker": {**ROOT, "file": str(path)}}}
    with pytest.raises(ConfigError, match=f"{path} .* not an SQLite database. Move the file"):
        async with open_gateway(document):
            pass
    assert path.read_bytes() == content


@pytest.fixture
def readonly() -> Iterator[Path]:
    """A file and its folder that the user of the test cannot write, also where this is root."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "revoked"
        open_database(str(path)).close()
        path.chmod(0o444)
        path.parent.chmod(0o555)
        os.seteuid(user or 65534)
        try:
            yield path
        finally:
            os.seteuid(user)
            path.parent.chmod(0o755)


async def test_a_file_that_cannot_be_written_stops_the_start(readonly: Path) -> None:
    document = {"version": 3, "extra_config": {"auth/revoker": {**ROOT, "file": str(readonly)}}}
    with pytest.raises(ConfigError, match=f"{readonly} cannot be used: "):
        async with open_gateway(document):
            pass


ROOT: dict[str, Any] = {"TTL": 60, "token_keys": ["jti"], "N": 3, "P": 1e-7, "hash_name": "optimal"}


async def post(app: ASGIApp, path: str, claims: object, key: bytes = b"") -> Reply:
    client = Client([claims if isinstance(claims, bytes) else json.dumps(claims).encode()])
    headers = [(b"authorization", key)] if key else []
    scope = http_scope("POST", f"/__revoker/{path}", headers=headers)
    await app(scope, client.receive, client.send)
    return client.reply


async def test_a_revoked_token_is_refused_although_it_is_known(tmp_path: Path) -> None:
    with serving(echoing) as service:
        endpoint = validating(tmp_path / "jwk.json", service.url)
        document = {"version": 3, "endpoints": [endpoint], "extra_config": {"auth/revoker": ROOT}}
        async with open_gateway(document) as gateway:
            tokens = [signed({"jti": "a"}), signed({"jti": "b"})]
            before = [(await get(gateway.asgi, "/a", token)).status for token in tokens]
            reply = await post(gateway.management, "add", {"jti": "a"})
            checks = [await post(gateway.management, "check", {"jti": jti}) for jti in "ab"]
            after = [(await get(gateway.asgi, "/a", token)).status for token in tokens]
    assert (before, after) == ([200, 200], [401, 200])
    assert reply.json() == {"revoked": 1}
    assert [check.json() for check in checks] == [{"revoked": True}, {"revoked": False}]


async def test_nothing_is_revoked_on_the_public_port() -> None:
    async with open_gateway({"version": 3, "extra_config": {"auth/revoker": ROOT}}) as gateway:
        assert (await post(gateway.asgi, "add", {"jti": "a"})).status == 404


async def test_a_page_in_a_browser_revokes_nothing() -> None:
    settings = {**ROOT, "revoke_server_api_key": "Key"}
    async with open_gateway({"version": 3, "extra_config": {"auth/revoker": settings}}) as gateway:
        for origin in (b"https://evil.test", b"null", b"http://gateway.test"):
            client = Client([b'{"jti": "a"}'])
            headers = [(b"authorization", b"Bearer Key"), (b"origin", origin)]
            scope = http_scope("POST", "/__revoker/add", headers=headers)
            await gateway.management(scope, client.receive, client.send)
            assert client.reply.status == 403
        checked = await post(gateway.management, "check", {"jti": "a"}, b"Bearer Key")
        assert checked.json() == {"revoked": False}


async def test_who_revokes_shows_the_key() -> None:
    settings = {**ROOT, "revoke_server_api_key": "Key"}
    async with open_gateway({"version": 3, "extra_config": {"auth/revoker": settings}}) as gateway:
        statuses = [
            (await post(gateway.management, "add", {"jti": "a"}, key)).status
            for key in (b"", b"Key", b"Bearer key", b"Bearer Keys", b"Bearer Key", b"bearer Key")
        ]
    assert statuses == [401, 401, 401, 401, 200, 200]


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"sub": "a"}, 400),
        ({"jti": "a", "sub": "a"}, 400),
        ({"jti": 1}, 400),
        ({}, 400),
        ([], 400),
        (b"", 400),
        (b"\xff", 400),
        (b"[" * 60_000, 400),
        (b" " * 70_000, 413),
    ],
)
async def test_what_is_no_revocation_is_refused(claims: object, status: int) -> None:
    async with open_gateway({"version": 3, "extra_config": {"auth/revoker": ROOT}}) as gateway:
        assert (await post(gateway.management, "add", claims)).status == status


async def test_a_full_list_says_so() -> None:
    async with open_gateway({"version": 3, "extra_config": {"auth/revoker": ROOT}}) as gateway:
        replies = [await post(gateway.management, "add", {"jti": jti}) for jti in "abcd"]
        assert [reply.status for reply in replies] == [200, 200, 200, 503]
        assert (await ask(gateway.management, "GET", "/__revoker/add")).status == 405


async def test_several_workers_need_a_file(tmp_path: Path) -> None:
    document = {"version": 3, "extra_config": {"auth/revoker": ROOT}}
    with pytest.raises(GatewayError, match='need a "file"'):
        async with open_gateway(document, workers=2):
            pass
    document["extra_config"] = {"auth/revoker": {**ROOT, "file": str(tmp_path / "revoked")}}
    async with open_gateway(document, workers=2):
        pass


@pytest.mark.parametrize(
    ("settings", "word"), [({"TTL": 0}, "TTL"), ({"file": "/nowhere/at/all"}, "file")]
)
async def test_what_cannot_be_used_stops_the_start(settings: dict[str, Any], word: str) -> None:
    document = {"version": 3, "extra_config": {"auth/revoker": {**ROOT, **settings}}}
    with pytest.raises(ConfigError, match=word):
        async with open_gateway(document):
            pass
