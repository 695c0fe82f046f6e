"""Certificates, names, clients' certificates, versions: what is spoken on a port with ``tls``."""

from __future__ import annotations

import logging
import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import trustme
from anyio import to_thread
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from gateway import ConfigError
from gateway.config.structs import Tls, TlsKey
from gateway.core.asgi import Receive, Scope, Send
from gateway.server import ServeSettings
from gateway.server.settings import ServerName
from gateway.tls.server import Certificate, ServerTls, choose

from .client import KEY, get, serving
from .test_serve import anyio_backend, hello, pair

__all__ = ["anyio_backend", "pair"]

pytestmark = pytest.mark.anyio

AUTHORITY = trustme.CA()
OLD = {"min_version": "TLS12", "max_version": "TLS12"}


@pytest.fixture
def server(pair: tuple[str, ServerName]) -> ServerName:
    return pair[1]


@pytest.fixture
def make_key(tmp_path: Path) -> Callable[..., TlsKey]:
    """Writes a certificate for some names under a file name."""

    def make(
        *names: str,
        file: str = "key",
        authority: trustme.CA = AUTHORITY,
        also: trustme.CA | None = None,
    ) -> TlsKey:
        issued = authority.issue_cert(*names)
        chain, key = tmp_path / f"{file}.pem", tmp_path / f"{file}.key"
        written = [*issued.cert_chain_pems, *([also.cert_pem] if also else [])]
        chain.write_bytes(b"".join(each.bytes() for each in written))
        key.write_bytes(issued.private_key_pem.bytes())
        return TlsKey(public_key=str(chain), private_key=str(key))

    return make


def trusting(certificate: trustme.LeafCert | None = None, **changes: Any) -> ssl.SSLContext:
    """A client's side."""
    context = ssl.create_default_context()
    context.check_hostname = False
    AUTHORITY.configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    for name, value in changes.items():
        setattr(context, name, value)
    return context


REFUSED = (ssl.SSLError, ConnectionError)
"""Some servers say why, some only close."""


class Seen:
    """What a client saw of a server that answered it; else one of REFUSED."""

    def __init__(self, port: int, context: ssl.SSLContext, name: str | None = None) -> None:
        with socket.create_connection(("127.0.0.1", port)) as plain:
            with context.wrap_socket(plain, server_hostname=name) as client:
                names: Any = client.getpeercert()
                self.names = {value for _, value in names["subjectAltName"]}
                self.version, self.cipher = client.version(), client.cipher()
                client.sendall(get("/", "Connection: close"))
                answer = b""
                while received := client.recv(65536):  # with TLS 1.3 a refusal comes here
                    answer += received
                if b"hello" not in answer:
                    raise ConnectionError("closed")


async def see(port: int, context: ssl.SSLContext, name: str | None = None) -> Seen:
    return await to_thread.run_sync(Seen, port, context, name)


def serve_settings(server: ServerName, **tls: Any) -> ServeSettings:
    return ServeSettings(server=server, tls=ServerTls(Tls(**tls)), grace=1)


async def test_a_client_gets_the_certificate_it_asks_for(
    server: ServerName, make_key: Callable[..., TlsKey]
) -> None:
    keys = (
        make_key("first.test", file="first"),
        make_key("*.shop.test", "shop.test", file="shop"),
    )
    at_root = make_key("last.test", file="last")
    settings = serve_settings(
        server, keys=keys, public_key=at_root.public_key, private_key=at_root.private_key
    )
    async with serving(hello, settings) as (port, _):
        for name, given in {
            "shop.test": "shop.test",
            "WWW.shop.test": "shop.test",
            "last.test": "last.test",
            "a.b.shop.test": "first.test",
            "other.test": "first.test",
            None: "first.test",
        }.items():
            seen = await see(port, trusting(), name)
            assert given in seen.names, name


def test_a_wildcard_stands_for_one_label() -> None:
    def certificate(*names: str) -> Certificate[object]:
        return Certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), frozenset(names))

    first, wild, exact = certificate(), certificate("*.a.test"), certificate("b.a.test", "a.test")
    certificates = [first, wild, exact]
    for name, chosen in {
        "b.a.test": wild,  # the first that fits, as in Go
        "c.a.test.": wild,
        "A.test": exact,
        "x.y.a.test": first,
        "test": first,
        "": first,
        ".": first,
    }.items():
        assert choose(certificates, name) is chosen, name


async def test_each_server_speaks_its_protocols(server: ServerName) -> None:
    context = trusting(check_hostname=False, verify_mode=ssl.CERT_NONE)
    context.set_alpn_protocols(["h2", "http/1.1"])

    def agreed() -> str | None:
        with socket.create_connection(("127.0.0.1", port)) as plain:
            with context.wrap_socket(plain) as client:
                return client.selected_alpn_protocol()

    async with serving(hello, serve_settings(server, keys=(KEY,))) as (port, _):
        spoken = await to_thread.run_sync(agreed)
        assert spoken == ("h2" if server == "hypercorn" else "http/1.1")


async def test_the_application_sees_https_in_its_scope(server: ServerName) -> None:
    schemes = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            schemes.append(scope["scheme"])
        await hello(scope, receive, send)

    context = trusting(verify_mode=ssl.CERT_NONE)
    async with serving(app, serve_settings(server, keys=(KEY,))) as (port, _):
        async with httpx.AsyncClient(verify=context) as client:
            await client.get(f"https://127.0.0.1:{port}/")
    assert schemes == ["https"]


async def test_the_oldest_version_is_1_3_unless_said_otherwise(
    server: ServerName, make_key: Callable[..., TlsKey]
) -> None:
    key = make_key("a.test")
    old = trusting(maximum_version=ssl.TLSVersion.TLSv1_2)
    async with serving(hello, serve_settings(server, keys=(key,))) as (port, _):
        assert (await see(port, trusting())).version == "TLSv1.3"
        with pytest.raises(REFUSED):
            await see(port, old)
    suites = (0xC02C, 0x1301, 0x9999)
    async with serving(hello, serve_settings(server, keys=(key,), cipher_suites=suites, **OLD)) as (
        port,
        _,
    ):
        seen = await see(port, old)
        assert seen.cipher is not None
        assert seen.cipher[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
        old.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        with pytest.raises(REFUSED):
            await see(port, old)


async def test_old_versions_are_spoken_with_suites_of_their_own(
    server: ServerName, make_key: Callable[..., TlsKey]
) -> None:
    settings = serve_settings(
        server, keys=(make_key("a.test"),), min_version="TLS10", cipher_suites=(0xC00A, 0xC014)
    )
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old = trusting(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    async with serving(hello, settings) as (port, _):
        assert (await see(port, old)).version == "TLSv1"


async def test_a_curve_can_be_chosen(server: ServerName, make_key: Callable[..., TlsKey]) -> None:
    settings = serve_settings(server, keys=(make_key("a.test"),), curve_preferences=(25,))
    other, same = trusting(), trusting()
    other.set_ecdh_curve("prime256v1")
    same.set_ecdh_curve("secp521r1")
    async with serving(hello, settings) as (port, _):
        await see(port, same)
        with pytest.raises(REFUSED):
            await see(port, other)


async def test_a_client_has_to_show_a_certificate(
    server: ServerName, make_key: Callable[..., TlsKey], tmp_path: Path
) -> None:
    clients, strangers = trustme.CA(), trustme.CA()
    between = clients.create_child_ca()
    clients.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    settings = serve_settings(
        server,
        keys=(make_key("a.test"),),
        enable_mtls=True,
        disable_system_ca_pool=True,
        ca_certs=("/nowhere.pem", str(tmp_path / "clients.pem")),
    )
    async with serving(hello, settings) as (port, _):
        for authority in (clients, between):
            known = trusting(authority.issue_cert("me@clients.test"))
            await see(port, known)
        with pytest.raises(REFUSED):
            await see(port, trusting())
        with pytest.raises(REFUSED):
            await see(port, trusting(strangers.issue_cert("me@strangers.test")))
        # A certificate of a server is none of a client's.
        serves = AUTHORITY.issue_cert("a.test")
        with pytest.raises(REFUSED):
            await see(port, trusting(serves))


async def test_an_authority_below_another_may_be_trusted_alone(
    server: ServerName, make_key: Callable[..., TlsKey], tmp_path: Path
) -> None:
    root = trustme.CA()
    below, beside = root.create_child_ca(), root.create_child_ca()
    below.cert_pem.write_to_path(str(tmp_path / "below.pem"))
    settings = serve_settings(
        server,
        keys=(make_key("a.test"),),
        enable_mtls=True,
        disable_system_ca_pool=True,
        ca_certs=(str(tmp_path / "below.pem"),),
    )
    async with serving(hello, settings) as (port, _):
        await see(port, trusting(below.issue_cert("me@x.test")))
        with pytest.raises(REFUSED):
            await see(port, trusting(beside.issue_cert("me@x.test")))


async def test_of_the_servers_own_certificates_the_roots_alone_are_authorities(
    server: ServerName,
    make_key: Callable[..., TlsKey],
) -> None:
    world = trustme.CA()
    below = world.create_child_ca()
    key = make_key("a.test", authority=below)  # with "below" in its chain
    tls: dict[str, Any] = {"enable_mtls": True, "disable_system_ca_pool": True}
    client = trusting(below.issue_cert("me@x.test"))
    world.configure_trust(client)
    async with serving(hello, serve_settings(server, keys=(key,), **tls)) as (port, _):
        with pytest.raises(REFUSED):
            await see(port, client)
    make_key("a.test", authority=below, also=world)
    async with serving(hello, serve_settings(server, keys=(key,), **tls)) as (port, _):
        await see(port, client)


async def test_certificates_are_read_again_while_connections_are_open(
    server: ServerName, make_key: Callable[..., TlsKey], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    key = make_key("old.test")
    settings = serve_settings(server, keys=(key,))
    tls = settings.tls
    assert tls is not None

    def talk(client: ssl.SSLSocket) -> bytes:
        client.sendall(get())
        answer = b""
        while not answer.endswith(b"hello"):
            answer += client.recv(65536)
        return answer

    def connected() -> ssl.SSLSocket:
        return trusting().wrap_socket(socket.create_connection(("127.0.0.1", port)))

    async with serving(hello, settings) as (port, _):
        with await to_thread.run_sync(connected) as kept:
            await to_thread.run_sync(talk, kept)
            make_key("new.test")
            assert (await see(port, trusting())).names == {"old.test"}
            tls.reload()
            assert (await see(port, trusting())).names == {"new.test"}
            assert b"hello" in await to_thread.run_sync(talk, kept)
            shutil.copy(key.public_key, key.private_key)
            tls.reload()
            assert (await see(port, trusting())).names == {"new.test"}
    assert "the certificates are reloaded" in caplog.text
    assert "the certificates are not reloaded: $.tls.keys[0]" in caplog.text


def has_odd_names(key: TlsKey) -> None:
    """Give it a certificate whose subject alternative name is none."""
    path = Path(key.public_key)
    old = x509.load_pem_x509_certificate(path.read_bytes())
    private: Any = load_pem_private_key(Path(key.private_key).read_bytes(), None)
    builder = (
        x509.CertificateBuilder(old.issuer, old.subject, private.public_key())
        .serial_number(1)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
    )
    names = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x7f\xff")
    certificate = builder.add_extension(names, critical=False).sign(private, SHA256())
    path.write_bytes(certificate.public_bytes(Encoding.PEM))


def is_empty(file: str) -> None:
    Path(file).write_bytes(b"")


def has_broken_chain(key: TlsKey) -> None:
    with Path(key.public_key).open("ab") as file:
        file.write(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


BREAKAGES: dict[str, Callable[[TlsKey], object]] = {
    "names that do not parse": has_odd_names,
    "an empty certificate": lambda key: is_empty(key.public_key),
    "an empty key": lambda key: is_empty(key.private_key),
    "no certificate": lambda key: Path(key.public_key).unlink(),
    "no key": lambda key: Path(key.private_key).unlink(),
    "a certificate that is a key": lambda key: shutil.copy(key.private_key, key.public_key),
    "a chain that breaks off": has_broken_chain,
}


@pytest.fixture(params=BREAKAGES)
def spoil(request: pytest.FixtureRequest) -> Callable[[TlsKey], object]:
    return BREAKAGES[request.param]


def test_a_certificate_that_does_not_parse_stops_the_start_with_its_path(
    make_key: Callable[..., TlsKey], spoil: Callable[[TlsKey], object]
) -> None:
    keys = (make_key("a.test"), make_key("b.test", file="other"))
    spoil(keys[1])
    with pytest.raises(ConfigError) as error:
        ServerTls(Tls(keys=keys))
    assert [each.path for each in error.value.findings] == ["$.tls.keys[1]"]


async def test_what_does_not_parse_at_a_hangup_leaves_the_old_certificates(
    server: ServerName,
    make_key: Callable[..., TlsKey],
    spoil: Callable[[TlsKey], object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys = (make_key("a.test"), make_key("b.test", file="other"))
    settings = serve_settings(server, keys=keys)
    assert settings.tls is not None
    async with serving(hello, settings) as (port, _):
        make_key("new.test")
        spoil(keys[1])
        settings.tls.reload()
        for name in ("a.test", "b.test"):
            assert (await see(port, trusting(), name)).names == {name}
        make_key("b.test", file="other")
        settings.tls.reload()
        assert (await see(port, trusting(), "new.test")).names == {"new.test"}
    (line,) = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert line.startswith("the certificates are not reloaded: $.tls.keys[1]: ")


@pytest.mark.parametrize("spoil_file", [is_empty, lambda file: Path(file).unlink()])
async def test_an_authority_that_is_of_no_use_at_a_hangup_stays_as_it_was(
    server: ServerName,
    make_key: Callable[..., TlsKey],
    spoil_file: Callable[[str], object],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clients, path = trustme.CA(), str(tmp_path / "clients.pem")
    clients.cert_pem.write_to_path(path)
    settings = serve_settings(
        server,
        keys=(make_key("a.test"),),
        enable_mtls=True,
        disable_system_ca_pool=True,
        ca_certs=(path,),
    )
    assert settings.tls is not None
    known = trusting(clients.issue_cert("me@clients.test"))
    async with serving(hello, settings) as (port, _):
        make_key("new.test")
        spoil_file(path)
        settings.tls.reload()
        assert (await see(port, known)).names == {"a.test"}
    assert "are not reloaded: $.tls.ca_certs[0]: cannot " in caplog.text


def test_servers_of_tcp_and_of_http3_keep_the_old_certificate_together(
    make_key: Callable[..., TlsKey],
) -> None:
    key = make_key("a.test")
    tls = ServerTls(Tls(keys=(key,)))

    def load(pair: TlsKey) -> bytes:
        content = Path(pair.public_key).read_bytes()
        if b"for TCP alone" in content:
            raise IndexError
        return content

    of_tcp, of_http3 = tls.context(()), tls.choice(load)
    connection, old = SimpleNamespace(context=None), of_http3("")

    def chosen() -> object:
        assert of_tcp.sni_callback is not None
        of_tcp.sni_callback(connection, None, of_tcp)  # type: ignore[arg-type]
        return connection.context

    assert chosen() is of_tcp
    make_key("new.test")
    with Path(key.public_key).open("ab") as file:
        file.write(b"for TCP alone")
    tls.reload()
    assert (chosen(), of_http3("")) == (of_tcp, old)
    make_key("new.test")
    tls.reload()
    assert chosen() is not of_tcp
    assert of_http3("") != old


def test_every_file_that_cannot_be_used_is_reported(
    make_key: Callable[..., TlsKey], tmp_path: Path
) -> None:
    good, other = make_key("a.test"), make_key("b.test", file="other")
    locked = tmp_path / "locked.key"
    locked.write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    keys = (
        TlsKey(public_key="/nowhere.pem", private_key="/nowhere.key"),
        TlsKey(public_key=good.public_key, private_key=other.private_key),
        TlsKey(public_key=good.public_key, private_key=str(locked)),
        good,
    )
    with pytest.raises(ConfigError) as error:
        ServerTls(Tls(keys=keys))
    assert [finding.path for finding in error.value.findings] == [
        "$.tls.keys[0]",
        "$.tls.keys[0]",
        "$.tls.keys[1]",
        "$.tls.keys[2]",
    ]
    assert "the private key does not belong to the certificate" in str(error.value)
