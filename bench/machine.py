"""The machine of a run, and the versions of the software on it and of our own."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from msgspec import Struct

from gateway.demo.broker import Broker

PACKAGES = ("uvicorn", "hypercorn", "granian", "uvloop", "httptools", "anyio", "trio", "aiormq")


class Machine(Struct, frozen=True):
    """``memory``: bytes. ``load``: average of the minute before the run. ``versions``: by name."""

    processor: str
    cores: int
    memory: int
    system: str
    load: float
    versions: dict[str, str]


def this_machine(broker: Broker | None) -> Machine:
    versions = {"Python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    if broker is not None:
        versions["RabbitMQ"] = broker.ctl("version").strip()
    if shutil.which("wrk"):
        versions["wrk"] = _first_match(r"wrk (\S+)", _output("wrk", "-v"))
    return Machine(
        processor=_first_match(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()),
        cores=len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=platform.platform(),
        load=os.getloadavg()[0],
        versions=versions,
    )


def commit() -> str:
    """Of the source code, with "-dirty" after it when files were changed; "" outside Git."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    with suppress(OSError):
        folder = Path(__file__).parent
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        return done.stdout.strip()
    return ""


def peer_version(path: str) -> str:
    """The output of ``PATH version`` in one line; "" when there is none."""
    return " ".join(_output(path, "version").split())[:100]


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def _first_match(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else "unknown"
