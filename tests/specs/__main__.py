"""Run KrakenD's integration specs: one line for each, exit status 1 when one fails."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from gateway.core.about import USER_AGENT, VERSION
from gateway.demo.broker import free_port

from .compare import Reply, Spec, differences, read_spec, without
from .service import serving

ROOT = Path(__file__).parents[2]
DECIDED = Path(__file__).with_name("decided.json")
"""By the name of a spec: what of its answer is decided otherwise here (``ignored``), and why."""
GATEWAY, SERVICE, METRICS = "8080", "8081", ":8090"
FEEDS = "http://showrss.info/"
"""A service of the internet: ours answers in its place."""
GO_CLIENT = {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"}
MAX_REDIRECTS = 10
SECONDS = 60

_PRODUCT = re.compile(r"KrakenD Version [\w.\-]+")
_VERSION = re.compile(r'"Version [\w.\-]+"')


class Place:
    """The clone, with the ports of this run in the place of KrakenD's."""

    def __init__(self, clone: Path, service: int) -> None:
        self.folder = clone / "tests"
        self._port = free_port()
        self._service = service

    def specs(self) -> Iterator[Spec]:
        """In the order of their names, with what this gateway calls itself."""
        for path in sorted((self.folder / "fixtures" / "specs").glob("*.json")):
            text = _PRODUCT.sub(USER_AGENT.decode(), self._moved(path.read_text(encoding="utf-8")))
            yield read_spec(path.stem, _VERSION.sub(f'"Version {VERSION}"', text))

    @contextmanager
    def gateway(self) -> Generator[None]:
        """The gateway with the configuration of the specs, in the folder of its Lua scripts."""
        path = self.folder / "fixtures" / "krakend.json"
        config = json.loads(self._moved(path.read_text(encoding="utf-8")))
        config |= {"port": self._port, "listen_ip": "127.0.0.1"}
        with tempfile.TemporaryDirectory() as folder:
            moved, log = Path(folder) / "krakend.json", Path(folder) / "log"
            moved.write_text(json.dumps(config), encoding="utf-8")
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "gateway", "run", "-d", "-c", moved],
                    cwd=self.folder,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            try:
                self._wait_for(process, log)
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(SECONDS)
                finally:
                    process.kill()
                    process.wait()

    def _moved(self, text: str) -> str:
        text = text.replace(FEEDS, f"http://127.0.0.1:{SERVICE}/")
        text = text.replace(f'"{METRICS}"', f'"127.0.0.1:{free_port()}"')
        return text.replace(f":{GATEWAY}", f":{self._port}").replace(
            f":{SERVICE}", f":{self._service}"
        )

    def _wait_for(self, process: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if send(f"http://127.0.0.1:{self._port}/__health", "GET", {}, None).status == 200:
                    return
            except OSError:
                time.sleep(0.02)
        raise SystemExit(f"the gateway does not start:\n{log.read_text(errors='replace')}")


def send(url: str, method: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
    """Ask as Go's client does, which the specs were recorded with."""
    for _ in range(MAX_REDIRECTS):
        parts = urlsplit(url)
        connection = HTTPConnection("127.0.0.1", parts.port, timeout=SECONDS)
        try:
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            given = {name.title(): value for name, value in headers.items()}
            for name, value in {"Host": parts.netloc, **GO_CLIENT, **given}.items():
                connection.putheader(name, value)
            if body is not None or method in ("POST", "PUT", "PATCH"):
                connection.putheader("Content-Length", str(len(body or b"")))
            connection.endheaders(body)
            response = connection.getresponse()
            reply = Reply(response.status, response.getheaders(), response.read())
        finally:
            connection.close()
        locations = reply.values("Location")
        if reply.status not in (301, 302, 303, 307, 308) or not locations:
            return reply
        url = urljoin(url, locations[0])
        if reply.status < 307:
            method, body = "GET", None
    raise OSError("too many redirects")


def problems_of(spec: Spec, ignored: Sequence[str] = ()) -> list[str]:
    """What differs; ``ignored``: members of the body that may differ."""
    try:
        reply = send(spec.url, spec.method, spec.headers, spec.body)
        return list(differences(spec.wanted, without(reply, ignored) if ignored else reply))
    except (OSError, HTTPException) as error:
        return [f"no answer: {error}"]
    except (KeyError, ValueError) as error:
        return [f"no member {error} in the body"]


def run(clone: Path, decided: Mapping[str, Any]) -> int:
    """Print a line for each spec; the number of those that fail."""
    passed = failed = 0
    with serving() as service:
        place = Place(clone, service)
        with place.gateway():
            for spec in place.specs():
                known = decided.get(spec.name)
                problems = problems_of(spec, known["ignored"] if known else ())
                if problems:
                    failed += 1
                    print(f"FAILED  {spec.name}: {'; '.join(problems)}")
                else:
                    passed += 1
                    print(f"ok      {spec.name}" + (f" ({known['reason']})" if known else ""))
    print(f"{passed} passed, {failed} failed")
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/krakend-specs", description=__doc__)
    parser.add_argument("clone", type=Path, help="the folder of a clone of krakend-ce")
    clone: Path = parser.parse_args().clone.resolve()
    if not (clone / "tests" / "fixtures" / "krakend.json").is_file():
        parser.error(f"{clone}: no clone of krakend-ce: tests/fixtures/krakend.json is missing")
    sys.exit(1 if run(clone, json.loads(DECIDED.read_text(encoding="utf-8"))) else 0)


if __name__ == "__main__":
    main()
