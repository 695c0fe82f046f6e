"""``auth/revoker``: the list, its file, its interface."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import fail_after, sleep
from hypothesis import given
from hypothesis import strategies as st

from gateway.app.service import open_gateway
from gateway.components.auth.claims import Claims
from gateway.components.auth.deny_list import DenyList, Full
from gateway.config.findings import ConfigError
from gateway.core.asgi import ASGIApp
from gateway.errors import GatewayError

from ...http.service import serving
from ...router.support import Client, Reply, ask, http_scope
from .support import echoing, get, signed, validating

pytestmark = pytest.mark.anyio


def revoked_list(*names: str, ttl: float = 60.0, most: int = 10, path: str = "") -> DenyList:
    return DenyList(names or ("jti",), ttl, most, path)


def test_what_was_added_is_revoked_and_nothing_else() -> None:
    revocations = revoked_list("jti", "aud", "org.id")
    assert revocations.add({"jti": "a", "org": {"id": 7}, "sub": "x"}) == 2
    revoked: list[Claims] = [{"jti": "a"}, {"aud": ["b"], "jti": "a"}, {"org": {"id": 7}}]
    for claims in revoked:
        assert revocations.is_revoked(claims)
    for other in ({}, {"jti": "b"}, {"sub": "x"}, {"aud": "a"}, {"jti": None}):
        assert not revocations.is_revoked(other)


def test_one_of_several_values_is_enough() -> None:
    revocations = revoked_list("aud")
    revocations.add({"aud": "b"})
    assert revocations.is_revoked({"aud": ["a", "b"]})


def test_a_revocation_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    revocations = revoked_list(most=1)
    monkeypatch.setattr("gateway.components.auth.deny_list.time", lambda: 1000.0)
    revocations.add({"jti": "a"})
    with pytest.raises(Full):
        revocations.add({"jti": "b"})
    monkeypatch.setattr("gateway.components.auth.deny_list.time", lambda: 1060.0)
    assert not revocations.is_revoked({"jti": "a"})
    revocations.add({"jti": "b"})
    assert revocations.readiness()["count"] == 1


async def test_a_file_keeps_revocations_over_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "revoked")
    before = revoked_list(path=path)
    async with before.opened():
        before.add({"jti": "a\nb"})
    after = revoked_list(path=path)
    async with after.opened():
        assert after.is_revoked({"jti": "a\nb"})


async def test_what_one_process_revokes_holds_for_the_others(tmp_path: Path) -> None:
    path = str(tmp_path / "revoked")
    here, there = revoked_list(path=path), revoked_list(path=path)
    async with here.opened(), there.opened():
        here.add({"jti": "a"})
        there.add({"jti": "b"})
        assert there.is_revoked({"jti": "a"})
        assert here.is_revoked({"jti": "b"})


@given(st.binary())
def test_no_file_raises(content: bytes) -> None:
    async def read() -> bool:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content + b'\n[1, "jti-old"]\n[99999999999, "jti-a"]\n[99999999999, "jti-')
            file.flush()
            revocations = revoked_list(path=file.name)
            async with revocations.opened():
                return revocations.is_revoked({"jti": "a"})

    assert anyio.run(read)


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


LONG = 99999999999.0


async def test_the_start_leaves_of_a_file_what_counts(tmp_path: Path) -> None:
    path = tmp_path / "revoked"
    path.write_text('[1, "jti-old"]\n[99999999998, "jti-a"]\n[99999999999, "jti-a"]\n[99')
    path.chmod(0o640)
    revocations = revoked_list(path=str(path))
    async with revocations.opened():
        assert revocations.is_revoked({"jti": "a"})
        revocations.add({"jti": "b"})
    assert path.stat().st_mode & 0o777 == 0o640
    async with revocations.opened():
        assert [entry for _, entry in lines_of(path)] == ["jti-a", "jti-b"]


async def test_a_file_that_has_grown_is_written_anew_and_holds_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.components.auth.deny_list.SPARED", 20)
    path = tmp_path / "revoked"
    here, there = revoked_list(path=str(path)), revoked_list(path=str(path))
    async with here.opened(), there.opened():
        there.add({"jti": "first"})
        for _ in range(40):
            here.add({"jti": "again"})
        with fail_after(10):
            while len(lines_of(path)) > 20:
                await sleep(0.01)
        there.add({"jti": "last"})
        for jti in ("first", "again", "last"):
            assert here.is_revoked({"jti": jti})
            assert there.is_revoked({"jti": jti})


async def test_a_file_that_cannot_be_written_anew_is_used_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "revoked"
    path.write_text('[1, "jti-old"]\n[99999999999, "jti-a"]\n')
    (tmp_path / "revoked.new").mkdir()
    revocations = revoked_list(path=str(path))
    async with revocations.opened():
        assert revocations.is_revoked({"jti": "a"})
        revocations.add({"jti": "b"})
        assert revocations.is_revoked({"jti": "b"})
    assert "cannot be written anew" in caplog.text


REVOKES_AND_REWRITES = """
import sys, anyio
from gateway.components.auth.deny_list import DenyList

async def main():
    revocations = DenyList(["jti"], 1e9, 10**6, sys.argv[1])
    async with revocations.opened():
        for number in range(10**6):
            revocations.add({"jti": str(number)})
            print(number, flush=True)
            if number % 7 == 0:
                await anyio.to_thread.run_sync(revocations._rewrite)

anyio.run(main)
"""


def test_a_process_that_is_killed_has_lost_no_revocation_that_it_has_told_of(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "revoked")
    command = [sys.executable, "-c", REVOKES_AND_REWRITES, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(300):
            process.stdout.readline()
        process.kill()
        told = 300 + len(process.stdout.read().splitlines())

    async def survive() -> None:
        revocations = revoked_list(path=path, most=10**6)
        async with revocations.opened():
            assert all(revocations.is_revoked({"jti": str(n)}) for n in range(told))

    anyio.run(survive)


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
