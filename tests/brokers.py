"""RabbitMQ of a newer Debian, in a folder of its own: the command ``scripts/brokers``.

Everything here runs before ``.venv`` exists: it needs the standard library only.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType

SUITES = {"4.0": "trixie"}
"""The Debian that has each version of RabbitMQ."""

DEFAULT_MIRROR = "http://deb.debian.org/debian"
MAX_NETWORK_WAIT = 20.0
MAX_SETUP_TIME = 900.0
"""Seconds."""

NO_SERVICES = "#!/bin/sh\nexit 101\n"
"""What Debian's packages call before they start a service: 101 forbids it."""

VARIABLE = "GATEWAY_TEST_RABBITMQ"
"""The environment variable with the version that tests run on. Absent: the installed one."""


class NotAvailable(Exception):
    """The text is the reason."""


def folder() -> Path:
    """The folder of all versions."""
    if chosen := os.environ.get("GATEWAY_BROKERS"):
        return Path(chosen).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "hutch-gateway" / "brokers"


def is_ready(root: Path) -> bool:
    return (root / "usr/lib/rabbitmq/bin/rabbitmq-server").exists()


def root_of(version: str) -> Path:
    """The folder of a version that is set up. Raises :class:`NotAvailable`."""
    if version not in SUITES:
        raise NotAvailable(f"the version is not known; known: {', '.join(SUITES)}")
    root = folder() / version
    if not is_ready(root):
        raise NotAvailable(
            f"it is not set up in {root}; scripts/brokers --set-up {version} does that"
        )
    return root


def chosen_root() -> Path | None:
    """The folder whose RabbitMQ the tests run on; None: the installed RabbitMQ.

    Raises :class:`NotAvailable`.
    """
    version = os.environ.get(VARIABLE)
    return root_of(version) if version else None


def exact_version(root: Path | None) -> str:
    """Such as ``4.0.5``; without a folder: of the installed RabbitMQ. Empty: not known."""
    libraries = (root or Path("/")) / "usr/lib/rabbitmq/lib"
    found = sorted(libraries.glob("rabbitmq_server-*"))
    return found[-1].name.partition("-")[2] if found else ""


def set_up(version: str) -> Path:
    """The folder of a version, which is made when it is missing. Raises :class:`NotAvailable`."""
    root = folder() / version
    if is_ready(root):
        return root
    if os.geteuid():
        raise NotAvailable("its set-up and its start need root")
    if root.exists():
        raise NotAvailable(f"{root} exists without a RabbitMQ; remove it, then try again")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with locked(root.with_name(f"{version}.lock")) as lock:
            if not is_ready(root):  # another process may have done it
                make(root, SUITES[version], lock)
    except OSError as error:
        raise NotAvailable(f"{root} cannot be made: {error}") from error
    return root


@contextmanager
def locked(path: Path) -> Generator[int]:
    """Hold the lock of a file: no two processes make the same folder."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process, which has locked {path}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def make(root: Path, suite: str, lock: int) -> None:
    """Make ``root`` whole or not at all: it has another name until it is complete."""
    install_debootstrap()
    use_proxy_of_apt()
    mirror = find_mirror(suite)
    unfinished = root.with_name(root.name + ".unfinished")
    log = root.with_name(root.name + ".log")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a call that was killed
    say(f"setting up Debian {suite} with RabbitMQ in {root}, from {mirror}")
    try:
        policy = unfinished / "usr/sbin/policy-rc.d"
        policy.parent.mkdir(parents=True)
        policy.write_text(NO_SERVICES)
        policy.chmod(0o755)
        with log.open("wb") as output:
            status = subprocess.run(
                [
                    *own_namespaces(),
                    "debootstrap",
                    "--variant=minbase",
                    "--force-check-gpg",
                    "--include=rabbitmq-server",
                    suite,
                    str(unfinished),
                    mirror,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[lock],  # the lock stays as long as debootstrap runs
                timeout=MAX_SETUP_TIME,
                check=False,
            ).returncode
        if status or not is_ready(unfinished):
            lines = log.read_text(errors="replace").splitlines() or [f"exit status {status}"]
            raise NotAvailable(f"debootstrap failed: {lines[-1]} (more in {log})")
        for package in (unfinished / "var/cache/apt/archives").glob("*.deb"):
            package.unlink()
        unfinished.rename(root)
    except subprocess.TimeoutExpired:
        raise NotAvailable(f"debootstrap took over {MAX_SETUP_TIME:.0f} s (see {log})") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def own_namespaces() -> list[str]:
    """The begin of a command whose mounts and processes end with it. A container that allows no
    mounts refuses that; debootstrap then makes none."""
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    may = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    return command if may else []


def install_debootstrap() -> None:
    if shutil.which("debootstrap"):
        return
    if not shutil.which("apt-get"):
        raise NotAvailable("debootstrap is not installed, and there is no apt-get to install it")
    say("installing debootstrap")
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in ("update", "install -y --no-install-recommends debootstrap"):
        result = subprocess.run(
            ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", *arguments.split()],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if not shutil.which("debootstrap"):
        raise NotAvailable(f"debootstrap cannot be installed: {result.stderr.strip()}")


def use_proxy_of_apt() -> None:
    """debootstrap and Python know only the environment's proxy."""
    for scheme in ("http", "https"):
        proxy = output_of("apt-config", "shell", "it", f"Acquire::{scheme}::Proxy")
        _, _, url = proxy.strip().partition("=")
        if url and url != "'DIRECT'":
            os.environ.setdefault(f"{scheme}_proxy", url.strip("'"))


def find_mirror(suite: str) -> str:
    """A mirror that has the suite: this Debian's own, or the public one."""
    own = output_of(
        "apt-get",
        "indextargets",
        "--format=$(REPO_URI)",
        "Created-By: Packages",
        "Origin: Debian",
        "Label: Debian",
        "Component: main",
    )
    mirrors = [line.rstrip("/") for line in own.split() if line.startswith("http")]
    for mirror in dict.fromkeys([*mirrors, DEFAULT_MIRROR]):
        try:
            opener = urllib.request.build_opener()  # with the proxy of now
            with opener.open(f"{mirror}/dists/{suite}/InRelease", timeout=MAX_NETWORK_WAIT):
                return mirror
        except (OSError, ValueError) as error:
            reason = f"{mirror} cannot be read: {error}"
    raise NotAvailable(reason)


def output_of(*command: str) -> str:
    """Empty when there is no such command."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def run(version: str, root: Path) -> None:
    """Run the version in the foreground, until a signal comes."""
    package = ModuleType("gateway")  # the real one needs the libraries of .venv
    package.__path__ = [str(Path(__file__).parent.parent / "gateway")]
    sys.modules["gateway"] = package
    from gateway.demo.broker import open_broker
    from gateway.errors import GatewayError

    if os.geteuid():
        raise NotAvailable("its start needs root")
    try:
        with open_broker(with_management=True, root=root) as broker:
            print(f"RabbitMQ {exact_version(root)}: {broker.url}", flush=True)
            print(f"management: {broker.management_url}", flush=True)
            print("Ctrl-C stops it", flush=True)
            broker.wait()
            tail = broker.log_path.read_text(errors="replace")[-2000:]
            raise NotAvailable(f"it stopped:\n{tail}")
    except GatewayError as error:
        raise NotAvailable(str(error)) from error


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def stop(number: int, frame: FrameType | None) -> None:
    """End once: a second signal does not interrupt the removal of processes and files."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/brokers",
        description="Run RabbitMQ of a newer Debian in the foreground, until Ctrl-C. The first "
        "call sets it up, which needs root, the network and about a minute. It has its own ports "
        "and data, and leaves nothing when it stops.",
        epilog=f"Folder of the versions: {folder()} (variable GATEWAY_BROKERS). "
        f"Tests run on a version with {VARIABLE}=VERSION.",
    )
    parser.add_argument("version", nargs="?", choices=SUITES, metavar="VERSION", help="such as 4.0")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--set-up", action="store_true", help="set it up, but do not run it")
    group.add_argument("--root", action="store_true", help="print the folder of the version")
    group.add_argument("--list", action="store_true", help="print every version and its folder")
    options = parser.parse_args(arguments)
    if options.list:
        for version in SUITES:
            root = folder() / version
            exact = f"RabbitMQ {exact_version(root)}" if is_ready(root) else "not set up"
            print(version, root, exact, sep="\t")
        return 0
    if options.version is None:
        parser.error("a version is needed; --list prints the versions")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        if options.root:
            print(root_of(options.version))
            return 0
        root = set_up(options.version)
        if not options.set_up:
            run(options.version, root)
    except NotAvailable as reason:
        say(f"RabbitMQ {options.version}: {reason}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
