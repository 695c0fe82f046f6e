"""A run of cases against the gateway: what each answer differs in, one line for each case."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urljoin, urlsplit

from .compare import Reply, without

GO_CLIENT = {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"}
MAX_REDIRECTS = 10
SECONDS = 60

Decided = Mapping[str, Any]
"""By the name of a case: what of its answer is decided otherwise here (``ignored``), and why."""


class Named(Protocol):
    @property
    def name(self) -> str: ...


C = TypeVar("C", bound=Named)


def run_cases(
    cases: Iterable[C],
    ask: Callable[[C], Reply],
    differences: Callable[[C, Reply], Iterable[str]],
    decided: Decided,
) -> int:
    """Print a line for each case; the number of those that fail."""
    passed = failed = 0
    for case in cases:
        known = decided.get(case.name)
        try:
            reply = ask(case)
            if known:
                reply = without(reply, known["ignored"])
            problems = list(differences(case, reply))
        except (OSError, HTTPException) as error:
            problems = [f"no answer: {error}"]
        except (KeyError, ValueError) as error:
            problems = [f"no member {error} in the body"]
        if problems:
            failed += 1
            print(f"FAILED  {case.name}: {'; '.join(problems)}")
        else:
            passed += 1
            print(f"ok      {case.name}" + (f" ({known['reason']})" if known else ""))
    print(f"{passed} passed, {failed} failed")
    return failed


def command(
    name: str,
    product: str,
    needed: Sequence[str],
    run: Callable[[Path, Decided], int],
    folder: Path,
) -> None:
    """The command ``scripts/name PATH``: exit status 1 when a case fails.

    ``needed``: files of a clone of ``product``. ``folder``: the one of ``decided.json``.
    """
    parser = argparse.ArgumentParser(prog=f"scripts/{name}")
    parser.add_argument("clone", type=Path, help=f"the folder of a clone of {product}")
    clone: Path = parser.parse_args().clone.resolve()
    for file in needed:
        if not (clone / file).is_file():
            parser.error(f"{clone}: no clone of {product}: {file} is missing")
    decided = json.loads((folder / "decided.json").read_text(encoding="utf-8"))
    sys.exit(1 if run(clone, decided) else 0)


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
