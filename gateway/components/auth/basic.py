"""``auth/basic``: clients show a name and a password (RFC 7617). A name of KrakenD's Enterprise
edition.

A guard. Passwords are checked by bcrypt, which takes as long as its hash wants: in threads, a few
at a time, in an order that is fair to clients. A login that was checked is remembered, keyed by a
secret of this process.
"""

from __future__ import annotations

import binascii
import hashlib
import re
import secrets
from base64 import b64decode
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from anyio import CapacityLimiter, to_thread

from ...config.files import cannot_read
from ...config.findings import Finding
from ...config.structs import Endpoint
from ...core.component import Assembly, Component, Place
from ...core.proxy import Guard, Request
from ...errors import Refused
from ..ratelimit.clients import NameClient, build_name_network, network_name
from .advice import ON_BASIC
from .settings import BasicSettings
from .turns import QueueFull, Turns

NAMESPACE = "auth/basic"

AT_A_TIME = 2
"""Passwords that are checked; more wait."""
MAX_WAITING_LOGINS = 100
"""Logins of all clients that wait; beyond that the client that has most of them is refused."""
REMEMBERED = 1000
"""Right logins, and as many wrong ones; the oldest goes."""
MAX_PASSWORD_BYTES = 72
"""Bytes that bcrypt looks at."""

RETRY = ((b"retry-after", b"1"),)
CHALLENGE = ((b"www-authenticate", b'Basic realm="Restricted", charset="UTF-8"'),)

_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")

Users: TypeAlias = Mapping[bytes, bytes]
Login: TypeAlias = tuple[bytes, bytes]


def build_basic(settings: BasicSettings, endpoint: Endpoint, assembly: Assembly) -> Guard:
    """The guard of one endpoint: with its own users, or those of the root."""
    root: BasicSettings | None = assembly.service.extra_config.get(NAMESPACE)
    chosen = settings if settings.has_users or root is None else root
    client = build_name_network(assembly.service)
    return Logins(read_users(chosen), share_passwords(assembly), client).guard


def read_users(settings: BasicSettings) -> Users:
    """Names and hashes. Raises ValueError, with a text for people."""
    users = dict(_read_file(settings.htpasswd_path)) if settings.htpasswd_path else {}
    users.update(settings.users)
    for name, password in users.items():
        if not _BCRYPT.fullmatch(password):
            raise ValueError(f'the password of "{name}" is no bcrypt hash (htpasswd -B)')
    return {name.encode(): password.encode() for name, password in users.items()}


def _read_file(path: str) -> list[tuple[str, str]]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(cannot_read(path, error)) from error
    pairs = [line.partition(":") for line in lines if line.strip() and line[0] != "#"]
    return [(name, password.strip()) for name, _, password in pairs]


class Passwords:
    """Whether logins are right, for all endpoints of a gateway. What was checked is remembered:
    right ones, and apart from them wrong ones, so that these push none of the others out.
    """

    def __init__(self, most_waiting: int) -> None:
        self._turns = Turns(AT_A_TIME, most_waiting)
        self._limiter = CapacityLimiter(AT_A_TIME)
        self._secret = secrets.token_bytes(32)
        self._right: dict[bytes, None] = {}
        self._wrong: dict[bytes, None] = {}

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Nothing runs but for requests."""
        yield

    def readiness(self) -> dict[str, Any]:
        return {"kind": "logins", "ready": True, "waiting": self._turns.waiting}

    def mark(self, login: Login, known: bytes) -> bytes:
        """What stands for a login and the hash that it is checked with."""
        return hashlib.blake2b(known + b":".join(login), key=self._secret).digest()

    def is_right_nowait(self, mark: bytes) -> bool | None:
        """None: it has to be checked."""
        return True if mark in self._right else False if mark in self._wrong else None

    async def is_right(
        self, mark: bytes, password: bytes, known: bytes, path: Sequence[str]
    ) -> bool:
        """Raises :class:`QueueFull`. ``path``: see :class:`FairQueue`."""
        async with self._turns.turn(path):
            is_right = self.is_right_nowait(mark)  # the one before may have been the same
            if is_right is None:
                is_right = await to_thread.run_sync(
                    _is_right, password, known, limiter=self._limiter
                )
                self._remember(mark, is_right)
        return is_right

    def _remember(self, mark: bytes, is_right: bool) -> None:
        remembered = self._right if is_right else self._wrong
        if len(remembered) >= REMEMBERED:
            del remembered[next(iter(remembered))]
        remembered[mark] = None


def share_passwords(assembly: Assembly) -> Passwords:
    """The checks of the gateway. What waits for them is a part of what ``max_requests`` allows."""
    gateway = assembly.service.gateway
    most_waiting = max(1, min(MAX_WAITING_LOGINS, gateway.max_requests // 4))
    return assembly.resource(NAMESPACE, lambda: Passwords(most_waiting))


class Logins:
    """Admits users. ``client``: the name of a client, by its address."""

    def __init__(self, users: Users, passwords: Passwords, client: NameClient) -> None:
        self._users = users
        self._passwords = passwords
        self._client = client
        cost = max((known[4:6] for known in users.values()), default=b"10")
        self._nobody = b"$2b$%b$%b" % (cost, b"." * 53)
        """Checked for names that do not exist, so that they take as long as others."""

    def guard(self, request: Request) -> Awaitable[None] | None:
        login = read_login(request.header(b"authorization") or b"")
        if login is None:
            raise Refused(401, "no login", CHALLENGE)
        known = self._users.get(login[0], self._nobody)
        mark = self._passwords.mark(login, known)
        is_right = self._passwords.is_right_nowait(mark)
        if is_right is None:
            return self._check(request, login, known, mark)
        self._admit(login, is_right)
        return None

    async def _check(self, request: Request, login: Login, known: bytes, mark: bytes) -> None:
        name, password = login
        # A client chooses its name, may choose what it says of its address, but not the connection.
        path = (network_name(request.remote), self._client(request), name.decode("latin-1"))
        try:
            is_right = await self._passwords.is_right(mark, password, known, path)
        except QueueFull as error:
            raise Refused(error.status, "too many logins wait", RETRY) from error
        self._admit(login, is_right)

    def _admit(self, login: Login, is_right: bool) -> None:
        if not is_right or login[0] not in self._users:
            raise Refused(401, "a wrong login", CHALLENGE)


def _is_right(password: bytes, known: bytes) -> bool:
    import bcrypt

    try:
        return bcrypt.checkpw(password[:MAX_PASSWORD_BYTES], known)
    except ValueError:  # a salt that bcrypt cannot have made
        return False


def read_login(header: bytes) -> Login | None:
    """Name and password of an ``Authorization``; None when it has none."""
    scheme, _, text = header.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        name, colon, password = b64decode(text.strip(), validate=True).partition(b":")
    except binascii.Error:
        return None
    return (name, password) if colon else None


def verify(settings: BasicSettings) -> Iterator[tuple[str, str]]:
    try:
        read_users(settings)
    except ValueError as error:
        yield ("htpasswd_path" if settings.htpasswd_path else "users"), str(error)


def findings(settings: BasicSettings, place: Place) -> Iterator[Finding]:
    root: BasicSettings = place.service.extra_config.get(NAMESPACE) or BasicSettings()
    if place.endpoint is None:
        if not any(NAMESPACE in each.extra_config for each in place.service.endpoints):
            yield place.warning("guards nothing: no endpoint asks for it")
    elif not (settings.has_users or root.has_users):
        yield place.warning("there are no users: every request gets 401")


COMPONENT = Component(
    NAMESPACE,
    BasicSettings,
    verify=verify,
    guard=build_basic,
    service=True,
    findings=findings,
    advice=ON_BASIC,
)
