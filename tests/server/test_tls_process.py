"""TLS as users run it: a process, its start line, its signals, its management port."""

from __future__ import annotations

import os
import signal
import ssl
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import trustme
from cryptography import x509

from bench.process import GatewayProcess
from gateway.cli import main
from gateway.demo.broker import free_port

from .http3.client import connected
from .http3.test_edge import names_of

AUTHORITY = trustme.CA()


def write_key(folder: Path, *names: str) -> dict[str, str]:
    issued = AUTHORITY.issue_cert("127.0.0.1", *names)
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return {"public_key": str(chain), "private_key": str(key)}


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def names_at(port: int) -> set[str]:
    """Of the certificate; none when a worker ends meanwhile."""
    try:
        pem = ssl.get_server_certificate(("127.0.0.1", port))
    except OSError:
        return set()
    extensions = x509.load_pem_x509_certificate(pem.encode()).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names.get_values_for_type(x509.DNSName))


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def running(
    folder: Path, own: dict[str, Any], *flags: str, scheme: str = "http"
) -> Generator[GatewayProcess]:
    """A gateway with TLS whose management port is up."""
    port = own["management_port"]
    config = {
        "version": 3,
        "debug_endpoint": True,
        "tls": {"keys": [write_key(folder, "old.test")]},
        "extra_config": {"gateway": own},
    }
    process = GatewayProcess(config, folder, flags)
    process.start(is_awaited=False)

    def is_up() -> bool:
        try:
            url = f"{scheme}://127.0.0.1:{port}/__health"
            return httpx.get(url, verify=trusting()).status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(is_up)
        until(lambda: "gateway 0." in process.log)
        yield process
    finally:
        status = process.stop()
        assert status == 0, process.log


def test_workers_read_certificates_again_on_a_hangup(tmp_path: Path) -> None:
    own = {"management_port": free_port()}
    with running(tmp_path, own, "--workers", "2") as gateway:
        assert f"on https://127.0.0.1:{gateway.port} (http1, asyncio, uvloop" in gateway.log
        url = f"https://127.0.0.1:{gateway.port}/__debug/"
        with httpx.Client(verify=trusting()) as client:
            assert client.get(url).http_version == "HTTP/1.1"
            until(lambda: names_at(gateway.port) == {"old.test"})
            write_key(tmp_path, "new.test")
            os.kill(gateway.pid, signal.SIGHUP)
            # A worker that was not up yet ends by it, and is started again.
            until(lambda: [names_at(gateway.port) for _ in range(6)] == [{"new.test"}] * 6)
            assert "the certificates are reloaded" in gateway.log
            assert client.get(url).status_code == 200


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_http2_is_spoken_where_it_is_asked_for(tmp_path: Path, library: str) -> None:
    own = {"management_port": free_port(), "management_tls": True, "http2": True}
    with running(tmp_path, own, "--async-library", library, scheme="https") as gateway:
        assert f"(hypercorn, {library}, 1 worker" in gateway.log
        with httpx.Client(verify=trusting(), http2=True) as client:
            answer = client.get(f"https://127.0.0.1:{gateway.port}/__debug/")
        assert (answer.status_code, answer.http_version) == (200, "HTTP/2")


async def over_http3(port: int) -> tuple[int, list[str]]:
    """The status of an answer, and the names of the certificate; 0 when there is none soon.

    While another worker opens its socket, the kernel may hand it a connection that has begun.
    """
    with anyio.move_on_after(3):
        async with connected(port) as client:
            client.closes_at_once = 0
            answer = await client.answered(client.get(path=b"/__debug/"))
            return answer.status, names_of(client)
    return 0, []


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_http3_is_spoken_beside_tcp_where_it_is_asked_for(tmp_path: Path, library: str) -> None:
    own = {"management_port": free_port(), "http3": True}
    with running(tmp_path, own, "--async-library", library, "--workers", "2") as gateway:
        with httpx.Client(verify=trusting()) as client:
            answer = client.get(f"https://127.0.0.1:{gateway.port}/__debug/")
        assert answer.headers["alt-svc"] == f'h3=":{gateway.port}"; ma=86400'
        assert "alt-svc" not in httpx.get(f"http://127.0.0.1:{own['management_port']}/").headers
        until(lambda: anyio.run(over_http3, gateway.port) == (200, ["old.test"]))
        write_key(tmp_path, "new.test")
        os.kill(gateway.pid, signal.SIGHUP)
        until(lambda: anyio.run(over_http3, gateway.port) == (200, ["new.test"]))


def test_check_looks_at_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("{version: 3, tls: {public_key: nowhere.pem, private_key: nowhere.key}}")
    assert main(["check", "-c", str(path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"error: {path}: $.tls: cannot read {name}: No such file or directory"
        f" (relative to {Path.cwd()})"
        for name in ("nowhere.pem", "nowhere.key")
    ]
