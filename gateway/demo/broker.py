"""A private RabbitMQ node as child processes, for the demo and the tests. Not for production.

It has its own name, cookie, ports, directories and port mapper (epmd), listens on loopback only,
and removes its files at the end. Nodes with one cookie and one port mapper can form a cluster.
RabbitMQ must be installed: on this system, or below ``root``, a folder with a complete Debian of
another release (the commands run in it with ``chroot``, as root).
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from base64 import b64encode
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from itertools import cycle, islice
from pathlib import Path

from ..errors import GatewayError

SCRIPT_FOLDERS = (Path("/usr/lib/rabbitmq/bin"), Path("/usr/local/opt/rabbitmq/sbin"))
"""RabbitMQ's own scripts. Debian's command on the PATH calls them, but needs another user."""

PORT_BLOCKS = [range(start, start + 100) for start in range(10_000, 32_000, 100)]
"""One block for each process; below the ports that the kernel gives to outgoing connections."""

WITHOUT_PROC = (
    "vm_memory_calculation_strategy = erlang\ntotal_memory_available_override_value = 4GB\n"
)
"""RabbitMQ measures its memory itself where it cannot read ``/proc``, and counts on this much."""

MAX_START_TIME = 60.0
MAX_STOP_TIME = 20.0
"""Seconds."""


class Broker:
    """A node. ``url`` and ``management_url`` have the login of the user guest."""

    def __init__(
        self,
        commands: Commands,
        directory: Path,
        environ: dict[str, str],
        port: int,
        management_port: int | None,
    ) -> None:
        self.port = port
        self.url = f"amqp://guest:guest@127.0.0.1:{port}/"
        self.management_url = (
            f"http://guest:guest@127.0.0.1:{management_port}" if management_port else ""
        )
        self._management_port = management_port
        self.log_path = directory / "broker.log"
        self._commands = commands
        self.name = environ["RABBITMQ_NODENAME"]
        self._environ = environ
        self._node: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the node, which must be running."""
        assert self._node is not None
        return self._node.pid

    def ctl(self, *arguments: str) -> str:
        """The output of ``rabbitmqctl`` on this node. Raises :class:`GatewayError`."""
        result = subprocess.run(
            [*self._commands.script("rabbitmqctl"), "--quiet", *arguments],
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
            process_group=0,  # a Ctrl-C is for its caller, which may have to finish something
        )
        if result.returncode:
            raise GatewayError(f"rabbitmqctl {arguments[0]}: {result.stderr or result.stdout}")
        return result.stdout

    def add_vhost(self, name: str) -> str:
        """Add a virtual host for the user guest, and return its URL."""
        if self.management_url:
            self._manage("PUT", f"vhosts/{name}")  # its creator has all permissions
            return self.url + name
        self.ctl(
            "eval",
            f'rabbit_vhost:add(<<"{name}">>, <<"test">>), '
            f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{name}">>, '
            '<<".*">>, <<".*">>, <<".*">>, <<"test">>).',
        )
        return self.url + name

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with its queues and exchanges."""
        if self.management_url:
            self._manage("DELETE", f"vhosts/{name}")
            return
        self.ctl("eval", f'rabbit_vhost:delete(<<"{name}">>, <<"test">>).')

    def _manage(self, method: str, path: str) -> None:
        """Call the management API. ``rabbitmqctl`` would start its own Erlang node, which takes a
        second of CPU time."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._management_port}/api/{path}",
            method=method,
            headers={"Authorization": "Basic " + b64encode(b"guest:guest").decode()},
        )
        with urllib.request.urlopen(request, timeout=MAX_START_TIME):
            pass

    def start(self) -> None:
        """Start the node; returns when it accepts connections."""
        with self.log_path.open("ab") as log:
            self._node = subprocess.Popen(
                self._commands.script("rabbitmq-server"),
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + MAX_START_TIME
        ports = [self.port, *([self._management_port] if self._management_port else [])]
        while not all(map(_accepts, ports)):
            if self._node.poll() is not None or time.monotonic() > deadline:
                tail = self.log_path.read_text(errors="replace")[-2000:]
                raise GatewayError(f"RabbitMQ did not start:\n{tail}")
            time.sleep(0.05)

    def wait(self) -> None:
        """Wait until the node, which must be running, ends."""
        assert self._node is not None
        self._node.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop the node. SIGKILL stops it without a clean shutdown."""
        node, self._node = self._node, None
        if node is None:
            return
        signal_group(node.pid, number)
        try:
            node.wait(MAX_STOP_TIME)
        except subprocess.TimeoutExpired:
            pass
        finally:
            signal_group(node.pid, signal.SIGKILL)
            node.wait()


@contextmanager
def open_broker(*, with_management: bool = False, root: Path | None = None) -> Generator[Broker]:
    """Start a node, and stop it at the end. Raises :class:`GatewayError` when it cannot start."""
    commands = Commands(root)
    with open_mapper(commands) as mapper_port:
        with open_node(commands, mapper_port, with_management=with_management) as broker:
            yield broker


@contextmanager
def open_mapper(commands: Commands) -> Generator[int]:
    """Start a port mapper, and stop it at the end. Returns its port."""
    port = free_port()
    mapper = subprocess.Popen(
        [*commands.mapper(), "-port", str(port), "-address", "127.0.0.1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield port
    finally:
        mapper.kill()
        mapper.wait()


@contextmanager
def open_node(
    commands: Commands,
    mapper_port: int,
    *,
    with_management: bool = False,
    cookie: str = "",
    settings: str = "",
) -> Generator[Broker]:
    """As :func:`open_broker`, with a port mapper that runs.

    ``cookie``: the secret that the nodes of a cluster share; empty: the node makes its own.
    ``settings``: further lines of ``rabbitmq.conf``.
    """
    root = commands.root
    with ExitStack() as stack:
        directory = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(
                    prefix="gateway-broker-", dir=None if root is None else root / "tmp"
                )
            )
        )
        port, node_port, management_port = (free_port() for _ in range(3))
        inside = directory if root is None else Path("/") / directory.relative_to(root)
        environ = _environment(inside, port, mapper_port, node_port)
        plugins = "rabbitmq_management" if with_management else ""
        (directory / "enabled_plugins").write_text(f"[{plugins}].\n")
        (directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{port}\n"
            "disk_free_limit.absolute = 50MB\n"
            "collect_statistics_interval = 1000\n"
            + ("" if commands.has_proc else WITHOUT_PROC)
            + (
                f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management_port}\n"
                if with_management
                else ""
            )
            + settings
        )
        if cookie:
            (directory / ".erlang.cookie").write_text(cookie)
            (directory / ".erlang.cookie").chmod(0o400)
        shown_port = management_port if with_management else None
        broker = Broker(commands, directory, environ, port, shown_port)
        # Its directory is removed, so it need not save anything.
        stack.callback(broker.stop, signal.SIGKILL)
        broker.start()
        yield broker


class Commands:
    """The commands of RabbitMQ and Erlang. Raises :class:`GatewayError` when they are missing."""

    def __init__(self, root: Path | None) -> None:
        self.root = root
        mount = [] if root is None else ["unshare", f"--mount-proc={root / 'proc'}"]
        self.has_proc = not mount or _works([*mount, "true"])
        """False in a container that does not allow mounts: RabbitMQ then runs without ``/proc``."""
        self._in_root: list[str] = []
        if root is not None:
            self._in_root = [*(mount if self.has_proc else []), "chroot", str(root)]
        self._scripts = find_scripts() if root is None else SCRIPT_FOLDERS[0]
        if root is not None and not (root / "usr/lib/rabbitmq/bin/rabbitmq-server").exists():
            raise GatewayError(f"RabbitMQ is not installed below {root}")

    def script(self, name: str) -> list[str]:
        return [*self._in_root, str(self._scripts / name)]

    def mapper(self) -> list[str]:
        return [*self._in_root, "epmd"] if self._in_root else [_find_mapper()]


def find_scripts() -> Path:
    """The folder of RabbitMQ's scripts. Raises :class:`GatewayError`."""
    on_path = shutil.which("rabbitmq-server")
    candidates = [*SCRIPT_FOLDERS, *([Path(on_path).resolve().parent] if on_path else [])]
    for folder in candidates:
        if (folder / "rabbitmq-server").exists() and (folder / "rabbitmqctl").exists():
            return folder
    raise GatewayError(
        "RabbitMQ is not installed: install the package rabbitmq-server, or name a broker by URL"
    )


def _works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _find_mapper() -> str:
    found = shutil.which("epmd")
    if found is None:
        raise GatewayError("epmd is not on the PATH; it comes with Erlang")
    return found


def _environment(directory: Path, port: int, mapper_port: int, node_port: int) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {
        **kept,
        "LC_ALL": "C.UTF-8",
        "HOME": str(directory),
        "ERL_EPMD_PORT": str(mapper_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"gateway-{os.getpid()}-{port}@localhost",
        "RABBITMQ_DIST_PORT": str(node_port),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_LOGS": str(directory / "broker.log"),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
        "ERL_CRASH_DUMP": str(directory / "erl_crash.dump"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }


def free_port() -> int:
    """A TCP port of this machine that no process listens on. Raises :class:`GatewayError`.

    No two processes get the same port, because a server may need seconds until it listens.
    """
    block, ports = _own_ports()
    for port in islice(ports, len(block)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise GatewayError(f"no TCP port from {block.start} to {block.stop - 1} is free")


@cache
def _own_ports() -> tuple[range, Iterator[int]]:
    """The block of ports of this process, and an endless iterator over its ports."""
    for block in PORT_BLOCKS:
        claim = socket.socket(socket.AF_UNIX)
        try:
            if sys.platform == "linux":
                # Not a file: the kernel frees the name when the process ends.
                claim.bind(f"\0gateway-ports-{block.start}")
        except OSError:
            claim.close()
            continue
        atexit.register(claim.close)
        return block, cycle(block)
    raise GatewayError("too many processes use free_port()")


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def signal_group(leader: int, number: signal.Signals) -> None:
    """Send the signal to a process that leads a group, and to its children."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        return
