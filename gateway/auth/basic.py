"""``auth/basic``: clients show a name and a password (RFC 7617). A name of KrakenD's Enterprise
edition.

A guard. Passwords are checked by bcrypt, which takes as long as its hash wants: in threads, a few
at a time. A login that was good is remembered, keyed by a secret of this process.
"""

from __future__ import annotations

import binascii
import hashlib
import re
import secrets
from base64 import b64decode
from collections.abc import Awaitable, Mapping
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from ..assembly import Assembly
from ..config.files import cannot_read
from ..config.structs import Endpoint
from ..errors import Refused
from ..proxy import Guard, Request
from .settings import BasicSettings

NAMESPACE = "auth/basic"

AT_A_TIME = 2
"""Passwords that are checked; more wait."""
REMEMBERED = 1000
LONGEST_PASSWORD = 72
"""Bytes that bcrypt looks at."""

CHALLENGE = ((b"www-authenticate", b'Basic realm="Restricted", charset="UTF-8"'),)

_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")

Users = Mapping[bytes, bytes]


def build_basic(settings: BasicSettings, endpoint: Endpoint, assembly: Assembly) -> Guard:
    """The guard of one endpoint: with its own users, or those of the root."""
    root: BasicSettings | None = assembly.service.extra_config.get(NAMESPACE)
    chosen = settings if settings.has_users or root is None else root
    return Logins(read_users(chosen)).guard


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


class Logins:
    """Admits users."""

    def __init__(self, users: Users) -> None:
        self._users = users
        cost = max((known[4:6] for known in users.values()), default=b"10")
        self._nobody = b"$2b$%b$%b" % (cost, b"." * 53)
        """Checked for names that do not exist, so that they take as long as others."""
        self._limiter = CapacityLimiter(AT_A_TIME)
        self._secret = secrets.token_bytes(32)
        self._good: dict[bytes, None] = {}

    def guard(self, request: Request) -> Awaitable[None] | None:
        login = read_login(request.header(b"authorization") or b"")
        if login is None:
            raise Refused(401, "no login", CHALLENGE)
        mark = hashlib.blake2b(b":".join(login), key=self._secret).digest()
        return None if mark in self._good else self._check(login, mark)

    async def _check(self, login: tuple[bytes, bytes], mark: bytes) -> None:
        name, password = login
        known = self._users.get(name)
        is_right = await to_thread.run_sync(
            _is_right, password, known or self._nobody, limiter=self._limiter
        )
        if known is None or not is_right:
            raise Refused(401, "a wrong login", CHALLENGE)
        if len(self._good) >= REMEMBERED:
            del self._good[next(iter(self._good))]
        self._good[mark] = None


def _is_right(password: bytes, known: bytes) -> bool:
    import bcrypt

    try:
        return bcrypt.checkpw(password[:LONGEST_PASSWORD], known)
    except ValueError:  # a salt that bcrypt cannot have made
        return False


def read_login(header: bytes) -> tuple[bytes, bytes] | None:
    """Name and password of an ``Authorization``; None when it has none."""
    scheme, _, text = header.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        name, colon, password = b64decode(text.strip(), validate=True).partition(b":")
    except binascii.Error:
        return None
    return (name, password) if colon else None
