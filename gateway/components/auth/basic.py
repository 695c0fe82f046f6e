"""``auth/basic``: clients send a name and a password (RFC 7617). A name of KrakenD's Enterprise
edition.

A guard. bcrypt checks the passwords. It is slow on purpose, so it runs in threads, for a few logins
at a time, in an order that is fair to clients. The result is remembered, keyed by a secret of this
process.
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
from typing import TypeAlias

from anyio import CapacityLimiter, to_thread

from ...config.files import cannot_read
from ...config.findings import Finding
from ...config.json_types import JsonObject
from ...config.structs import Endpoint
from ...core.component import Assembly, Component, Place
from ...core.proxy import Guard, Request
from ...errors import Refused
from ..ratelimit.clients import NameClient, build_name_network, network_name
from .advice import ON_BASIC
from .fair_limiter import FairLimiter, QueueFull
from .settings import BasicSettings

NAMESPACE = "auth/basic"

MAX_CONCURRENT_CHECKS = 2
"""Passwords that are checked at once; more logins wait."""
MAX_WAITING_LOGINS = 100
"""Logins of all clients that wait. If there are more, a client that has most of them is refused."""
MAX_REMEMBERED_LOGINS = 1000
"""Correct logins, and as many wrong ones; the oldest one is forgotten."""
MAX_PASSWORD_BYTES = 72
"""bcrypt ignores what follows."""

RETRY_HEADERS = ((b"retry-after", b"1"),)
CHALLENGE_HEADERS = ((b"www-authenticate", b'Basic realm="Restricted", charset="UTF-8"'),)

_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")

Users: TypeAlias = Mapping[bytes, bytes]
Login: TypeAlias = tuple[bytes, bytes]


def build_basic(settings: BasicSettings, endpoint: Endpoint, assembly: Assembly) -> Guard:
    """The guard of one endpoint, with its own users or those of the root."""
    root: BasicSettings | None = assembly.service.extra_config.get(NAMESPACE)
    return build_basic_guard(settings if settings.has_users or root is None else root, assembly)


def build_basic_guard(settings: BasicSettings, assembly: Assembly) -> Guard:
    """A guard that admits the users of these settings."""
    client = build_name_network(assembly.service)
    return BasicGuard(read_users(settings), share_password_checker(assembly), client).guard


def read_users(settings: BasicSettings) -> Users:
    """Names and hashes. Raises ValueError with a message for the operator."""
    users = dict(_read_file(settings.htpasswd_path)) if settings.htpasswd_path else {}
    users.update(settings.users)
    for name, password in users.items():
        if not _BCRYPT.fullmatch(password):
            raise ValueError(
                f'the password of "{name}" is not a bcrypt hash; make one with: htpasswd -B'
            )
    return {name.encode(): password.encode() for name, password in users.items()}


def _read_file(path: str) -> list[tuple[str, str]]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(cannot_read(path, error)) from error
    pairs = [line.partition(":") for line in lines if line.strip() and line[0] != "#"]
    return [(name, password.strip()) for name, _, password in pairs]


class PasswordChecker:
    """Checks logins, for all endpoints of a gateway, and remembers the results: correct and wrong
    ones separately, so that many wrong logins do not displace the correct ones.
    """

    def __init__(self, max_waiting: int) -> None:
        self._limiter = FairLimiter(MAX_CONCURRENT_CHECKS, max_waiting)
        self._threads = CapacityLimiter(MAX_CONCURRENT_CHECKS)
        self._secret = secrets.token_bytes(32)
        self._right: dict[bytes, None] = {}
        self._wrong: dict[bytes, None] = {}

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """No background work."""
        yield

    def readiness(self) -> JsonObject:
        return {"kind": "logins", "ready": True, "waiting": self._limiter.waiting}

    def digest(self, login: Login, hashed: bytes) -> bytes:
        """Identifies a login together with the hash that it is checked against."""
        return hashlib.blake2b(hashed + b":".join(login), key=self._secret).digest()

    def is_right_nowait(self, digest: bytes) -> bool | None:
        """None: the login was not checked yet."""
        return True if digest in self._right else False if digest in self._wrong else None

    async def is_right(
        self, digest: bytes, password: bytes, hashed: bytes, path: Sequence[str]
    ) -> bool:
        """Raises :class:`QueueFull`. ``path``: see :class:`FairQueue`."""
        async with self._limiter.slot(path):
            is_right = self.is_right_nowait(digest)  # the one before may be the same login
            if is_right is None:
                is_right = await to_thread.run_sync(
                    _is_right, password, hashed, limiter=self._threads
                )
                self._remember(digest, is_right)
        return is_right

    def _remember(self, digest: bytes, is_right: bool) -> None:
        remembered = self._right if is_right else self._wrong
        if len(remembered) >= MAX_REMEMBERED_LOGINS:
            del remembered[next(iter(remembered))]
        remembered[digest] = None


def share_password_checker(assembly: Assembly) -> PasswordChecker:
    """The checker of the gateway. Its waiting logins use at most a quarter of ``max_requests``."""
    gateway = assembly.service.gateway
    max_waiting = max(1, min(MAX_WAITING_LOGINS, gateway.max_requests // 4))
    return assembly.resource(NAMESPACE, lambda: PasswordChecker(max_waiting))


class BasicGuard:
    """Admits the users of one endpoint. ``client``: identifies a client by its address."""

    def __init__(self, users: Users, passwords: PasswordChecker, client: NameClient) -> None:
        self._users = users
        self._passwords = passwords
        self._client = client
        cost = max((hashed[4:6] for hashed in users.values()), default=b"10")
        self._unknown_user_hash = b"$2b$%b$%b" % (cost, b"." * 53)
        """Checked for unknown names, so that response times do not reveal the known ones."""

    def guard(self, request: Request) -> Awaitable[None] | None:
        login = read_login(request.header(b"authorization") or b"")
        if login is None:
            raise Refused(401, "no login", CHALLENGE_HEADERS)
        hashed = self._users.get(login[0], self._unknown_user_hash)
        digest = self._passwords.digest(login, hashed)
        is_right = self._passwords.is_right_nowait(digest)
        if is_right is None:
            return self._check(request, login, hashed, digest)
        self._admit(login, is_right)
        return None

    async def _check(self, request: Request, login: Login, hashed: bytes, digest: bytes) -> None:
        name, password = login
        # A client can choose the name and X-Forwarded-For, but not the address of the connection.
        path = (network_name(request.remote), self._client(request), name.decode("latin-1"))
        try:
            is_right = await self._passwords.is_right(digest, password, hashed, path)
        except QueueFull as error:
            raise Refused(error.status, "too many logins are waiting", RETRY_HEADERS) from error
        self._admit(login, is_right)

    def _admit(self, login: Login, is_right: bool) -> None:
        if not is_right or login[0] not in self._users:
            raise Refused(401, "wrong name or password", CHALLENGE_HEADERS)


def _is_right(password: bytes, hashed: bytes) -> bool:
    import bcrypt

    try:
        return bcrypt.checkpw(password[:MAX_PASSWORD_BYTES], hashed)
    except ValueError:  # the salt is not one of bcrypt
        return False


def read_login(header: bytes) -> Login | None:
    """Name and password of an ``Authorization`` header; None: there are none."""
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
        has_page_users = place.service.gateway.page.auth == NAMESPACE
        is_used = any(NAMESPACE in each.extra_config for each in place.service.endpoints)
        if not is_used and not has_page_users:
            yield place.warning(f"has no effect: no endpoint has {NAMESPACE}")
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
