"""HTTP/3 at its edges: limits, certificates, hostile datagrams, ports."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import httpx
import pytest
import trustme
from aioquic.h3.connection import ErrorCode
from anyio import Event, fail_after, sleep
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway import ConfigError, GatewayError
from gateway.app.catalog import CATALOG
from gateway.config.load import load
from gateway.config.structs import Tls, TlsKey
from gateway.server import ServeSettings, serve_settings
from gateway.server.http3 import server as http3_server
from gateway.server.http3.certificates import CONNECTION_BYTES, STREAM_BYTES, load_certificate
from gateway.server.http3.datagrams import open_datagrams
from gateway.server.http3.headers import request_scope
from gateway.tls.server import ServerTls

from ..client import KEY, client_tls, serving
from .application import LIMITS, SETTINGS, Application
from .client import Client, connected

ROUNDS = 10

pytestmark = pytest.mark.anyio


# Limits.


def give_no_more_credit(client: Client) -> None:
    """It takes of each answer what ``max_stream_data`` says, and nothing more."""
    client.quic._write_stream_limits = lambda **_: None  # type: ignore[method-assign]


async def test_clients_that_take_no_answer_are_cut_off_before_too_much_waits_for_them(
    app: Application,
) -> None:
    app.answer = b"x" * 1_000_000
    limits = replace(LIMITS, answer_time=30.0, unsent_bytes=1_500_000)
    async with (
        serving(app, replace(SETTINGS, limits=limits)) as (port, _),
        connected(port, max_stream_data=1_000) as silent,
        connected(port) as reader,
    ):
        give_no_more_credit(silent)
        first = silent.get()
        await silent.until(lambda: silent.answers[first].body)
        assert len((await reader.answered(reader.get())).body) == 1_000_000
        await silent.until(lambda: silent.closed is not None)
        with fail_after(10):
            while len(app.left) < 2:
                await sleep(0.01)
    assert sorted(app.left) == [False, True]


async def test_further_requests_wait_while_too_much_of_a_connection_is_not_taken(
    app: Application,
) -> None:
    app.answer = b"x" * 50_000
    limits = replace(LIMITS, answer_time=30.0, connection_unsent_bytes=10_000)
    async with (
        serving(app, replace(SETTINGS, limits=limits)) as (port, _),
        connected(port, max_stream_data=1_000) as client,
    ):
        give_no_more_credit(client)
        first = client.get(path=b"/first")
        await client.until(lambda: client.answers[first].body)
        second = client.get(path=b"/second")
        for _ in range(3):
            client.quic.send_ping(7)
            client.flush()
            await sleep(0.05)
        assert [scope["path"] for scope in app.scopes] == ["/first"]
        client.cancel(first)
        await client.until(lambda: client.answers[second].body)
    assert [scope["path"] for scope in app.scopes] == ["/first", "/second"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(b"a", b"a" * 15_000)], 200),
        ([(b"a", b"a" * 25_000)], 431),
        ([(b"a", b"")] * 700, 431),
        ([(b"content-length", b"300001")], 413),
        ([(b"content-length", b"1_0")], 400),
        ([(b"host", b"x")], 200),
        ([(b"host", b"y")], 400),
        ([(b"x-forwarded-for", b"::," * 3_000)], 431),
    ],
)
async def test_a_head_that_is_refused(
    app: Application, port: int, fields: list[tuple[bytes, bytes]], status: int
) -> None:
    async with connected(port) as client:
        ends = b"content-length" not in dict(fields)
        stream = client.request(b"POST", b"/", *fields, ends=ends)
        assert (await client.answered(stream)).status == status
        assert (await client.answered(client.get())).status == 200
    assert len(app.scopes) == 1 + (status == 200)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [(b"GET", b"x", 400), (b"G T", b"/", 400), (b"GET", b"/a b", 400), (b"CONNECT", b"/", 405)],
)
async def test_a_target_that_is_none(port: int, method: bytes, path: bytes, status: int) -> None:
    async with connected(port) as client:
        assert (await client.answered(client.request(method, path))).status == status


async def test_headers_without_an_end_close_the_connection(port: int) -> None:
    async with connected(port) as client:
        client.quic.send_stream_data(0, b"\x01\x80\x0f\xff\xff" + b"x" * 100_000)
        client.flush()
        await client.until(lambda: client.closed is not None)
        assert client.closed == ErrorCode.H3_EXCESSIVE_LOAD


async def test_a_body_that_is_not_read_stays_with_the_client(app: Application, port: int) -> None:
    app.reads, app.may_answer = False, Event()
    async with connected(port) as client:
        stream = client.request(b"POST", b"/", body=b"x" * 3_000_000)
        await app.begun.wait()
        app.reads = True
        app.may_answer.set()
        app.may_answer = Event()
        first = app.client
        assert (await client.answered(stream)).status == 200
        assert 0 < first.unread <= 128 * 1024
        app.may_answer.set()
        assert (await client.answered(client.get())).status == 200


async def test_unread_bodies_have_a_bound_on_all_streams_together(app: Application) -> None:
    settings = replace(SETTINGS, limits=replace(LIMITS, answer_time=30))
    async with serving(app, settings) as (port, _), connected(port) as client:
        for _ in range(3):  # what has been read does not raise it
            stream = client.request(b"POST", b"/", body=b"x" * 1_000_000)
            assert len((await client.answered(stream)).body) == 1_000_000
        app.reads, app.may_answer = False, Event()
        app.scopes.clear()
        for _ in range(100):
            client.request(b"POST", b"/", body=b"x" * 100_000)
        unread = [0, -1]
        while unread[-1] != unread[-2] or unread[-1] < 500_000:
            await sleep(0.2)
            cycles = [scope["extensions"]["gateway.connection"] for scope in app.scopes]
            unread.append(sum(cycle.unread for cycle in cycles))
        assert unread[-1] <= CONNECTION_BYTES
        assert max(cycle.unread for cycle in cycles) <= STREAM_BYTES
        app.may_answer.set()
        assert (await client.answered(client.get())).status == 200


async def test_a_body_is_read_on_after_a_pause(app: Application, port: int) -> None:
    app.may_answer.set()
    async with connected(port) as client:
        stream = client.request(b"POST", b"/", body=b"x" * 1_000_000)
        assert len((await client.answered(stream)).body) == 1_000_000


async def test_beyond_the_limit_no_client_is_admitted_until_another_leaves(
    app: Application,
) -> None:
    settings = replace(SETTINGS, limits=replace(LIMITS, connections=1))
    async with serving(app, settings) as (port, _):
        async with connected(port) as first:
            async with connected(port, waits=False) as second:
                assert (await first.answered(first.get())).status == 200
                assert not second.is_connected
                first.close()
                await second.until(lambda: second.is_connected)


async def test_when_many_begin_a_client_proves_its_address(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(port) as client:
        assert not client.was_retried
    monkeypatch.setattr(http3_server, "MAX_UNVERIFIED_HANDSHAKES", 0)
    async with connected(port) as client:
        assert client.was_retried
        assert (await client.answered(client.get())).status == 200


async def test_a_client_that_never_ends_its_handshake_is_disconnected(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SETTINGS, limits=replace(LIMITS, connections=1, header_time=0.3))
    async with serving(app, settings) as (port, _):
        async with connected(port, waits=False) as silent:
            silent.is_silent = True
            async with connected(port) as client:
                assert (await client.answered(client.get())).status == 200


async def test_datagrams_that_are_no_requests_disturb_no_connection(port: int) -> None:
    """Datagrams of noise, alone and behind heads that look right."""
    noise = random.Random(3)
    heads = [b"", b"\xc0\0\0\0\x01\x08" + b"d" * 8 + b"\x08" + b"s" * 8 + b"\0\x44\x80", b"\x40"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        async with connected(port) as client:
            heads.append(b"\x40" + client.quic._peer_cid.cid)
            for number in range(300):
                data = heads[number % 4] + noise.randbytes(noise.choice((0, 20, 1200, 1400)))
                udp.sendto(data, ("127.0.0.1", port))
                if number % 50 == 0:
                    assert (await client.answered(client.get())).status == 200


async def test_streams_of_noise_end_their_connection_at_most(port: int) -> None:
    noise = random.Random(5)
    heads = [b"", b"\0", b"\0\x04\0", b"\x01", b"\x01\x20", b"\x02", b"\x03", b"\x54", b"\x40\x41"]
    for _ in range(ROUNDS):
        async with connected(port) as client:
            for stream in sorted(noise.sample((0, 4, 8, 14, 18, 22), 3)):
                data = noise.choice(heads) + noise.randbytes(noise.choice((0, 1, 5, 40)))
                client.quic.send_stream_data(stream, data, end_stream=noise.random() < 0.3)
            client.flush()
    async with connected(port) as client:
        assert (await client.answered(client.get())).status == 200


async def test_an_unknown_version_is_told_the_known_ones(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        head = b"\xc0\x0a\x0a\x0a\x0a\x08" + b"d" * 8 + b"\x08" + b"s" * 8
        udp.sendto(head.ljust(1200, b"\0"), ("127.0.0.1", port))
        while True:
            try:
                answer = udp.recv(2000)
                break
            except BlockingIOError:
                await sleep(0.01)
    assert answer[1:5] == b"\0\0\0\0"
    assert b"\0\0\0\x01" in answer[23:]


FIELDS = st.lists(
    st.tuples(
        st.sampled_from((b"cookie", b"host", b"content-length", b"x", b":path", b":protocol")),
        st.binary(max_size=20) | st.sampled_from((b"/", b"x", b"9" * 5000)),
    )
)


@given(method=st.binary(max_size=8) | st.just(b"GET"), host=st.binary(max_size=8), fields=FIELDS)
def test_any_head_is_a_request_or_refused(
    method: bytes, host: bytes, fields: list[tuple[bytes, bytes]]
) -> None:
    head = [(b":method", method), (b":authority", host), *fields]
    scope = request_scope(head, LIMITS, ("", 0), ("", 0))
    assert scope in (400, 405, 413, 431) or isinstance(scope, dict)


# Addresses and ports.


@pytest.mark.parametrize("host", ["", "0.0.0.0"])
async def test_an_answer_comes_from_the_address_that_was_asked(app: Application, host: str) -> None:
    mapped = "::ffff:127.0.0.1" if host == "" else "127.0.0.1"
    async with serving(app, SETTINGS, host) as (port, _):
        async with connected(port, host="127.0.0.2") as client:
            assert (await client.answered(client.get())).status == 200
    assert app.scopes[0]["client"][0] == mapped


def test_a_port_that_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken = open_datagrams([listening])
        with pytest.raises(GatewayError, match=r"cannot use UDP on 127\.0\.0\.1:.*already in use"):
            open_datagrams([listening])
        taken[0].close()


# Certificates.


def names_of(client: Client) -> list[str]:
    certificate = client.quic.tls._peer_certificate
    assert certificate is not None
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.DNSName)


def write(folder: Path, file: str, *names: str) -> TlsKey:
    issued = trustme.CA().issue_cert(*names)
    chain, key = folder / f"{file}.pem", folder / f"{file}.key"
    chain.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return TlsKey(public_key=str(chain), private_key=str(key))


async def test_a_client_gets_the_certificate_it_asks_for_also_after_a_change(
    app: Application, tmp_path: Path
) -> None:
    tls = ServerTls(Tls(keys=(write(tmp_path, "a", "a.test"), write(tmp_path, "b", "b.test"))))
    async with serving(app, replace(SETTINGS, tls=tls)) as (port, _):

        async def shown(name: str | None) -> list[str]:
            async with connected(port, name=name) as client:
                return names_of(client)

        assert await shown("b.test") == ["b.test"]
        assert await shown("x.test") == ["a.test"]
        assert await shown(None) == ["a.test"]
        async with connected(port) as client:
            write(tmp_path, "a", "new.test")
            tls.reload()
            assert await shown(None) == ["new.test"]
            for content in ("nothing", ""):
                for file in ("a.key", "a.pem"):
                    write(tmp_path, "a", "newer.test")
                    (tmp_path / file).write_text(content)
                    tls.reload()
                    assert await shown(None) == ["new.test"]
            assert (await client.answered(client.get())).status == 200


# What is told.


async def test_over_tcp_answers_tell_of_it(
    app: Application, anyio_backend: str, request: pytest.FixtureRequest
) -> None:
    servers = ("http1", "hypercorn") if anyio_backend == "asyncio" else ("hypercorn",)
    for server in servers:
        async with serving(app, replace(SETTINGS, server=server)) as (port, _):
            async with httpx.AsyncClient(verify=client_tls()) as client:
                app.scopes.clear()
                answer = await client.get(f"https://127.0.0.1:{port}/")
        assert answer.headers["alt-svc"] == f'h3=":{port}"; ma=86400'


PAIR = {"public_key": KEY.public_key, "private_key": KEY.private_key}


def wanted(**tls: object) -> ServeSettings:
    config = {"version": 3, "extra_config": {"gateway": {"http3": True}}, **tls}
    return serve_settings(load(config, CATALOG, {}).service)


def test_it_is_there_when_it_is_asked_for() -> None:
    assert wanted(tls={"keys": [PAIR]}).http3


@pytest.mark.parametrize(
    ("tls", "word"),
    [
        ({}, "HTTP/3 needs tls"),
        ({"tls": {"keys": [PAIR], "disabled": True}}, "HTTP/3 needs tls"),
        ({"tls": {"keys": [PAIR], "enable_mtls": True}}, "cannot request client certificates"),
        (
            {"tls": {"keys": [PAIR], "min_version": "TLS12", "max_version": "TLS12"}},
            "which max_version does not allow",
        ),
    ],
)
def test_where_it_cannot_be_the_start_says_why(tls: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError) as error:
        wanted(**tls)
    assert [each.path for each in error.value.findings] == ["$.extra_config.gateway.http3"]
    assert word in str(error.value)


def test_a_key_that_it_cannot_use_stops_the_start(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pair = write(tmp_path, "a", "a.test")
    key = ec.generate_private_key(ec.SECP521R1())
    Path(pair.private_key).write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    with pytest.raises(ValueError, match="cannot use a key with the curve secp521r1"):
        load_certificate(pair)


def test_without_the_library_the_start_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.server.http3.certificates.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'install "hutch-gateway\[http3\]"'):
        wanted(tls={"keys": [PAIR]})
