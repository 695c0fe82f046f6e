"""Cookies, written and read as by Go (net/http, cookie.go). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime

from msgspec import Struct

_NOT_IN_VALUE = re.compile(r"[^\x21\x23-\x3a\x3c-\x5b\x5d-\x7e ,]")
_DOMAIN = re.compile(r"\.?[a-z\d]([a-z\d-]*[a-z\d])?(\.[a-z\d]([a-z\d-]*[a-z\d])?)*", re.IGNORECASE)


class Cookie(Struct, frozen=True, kw_only=True, rename="camel"):
    name: str = ""
    value: str = ""
    path: str = ""
    domain: str = ""
    expires: datetime | None = None
    secure: bool = False
    http_only: bool = False
    max_age: int = 0

    @property
    def pair(self) -> bytes:
        """The value of ``Cookie``."""
        value = _NOT_IN_VALUE.sub("", self.value)
        if " " in value or "," in value:
            value = f'"{value}"'
        return f"{self.name}={value}".encode()

    @property
    def line(self) -> bytes:
        """The value of ``Set-Cookie``."""
        return b"; ".join([self.pair, *(part.encode() for part in self._attributes())])

    def _attributes(self) -> Iterator[str]:
        if self.path:
            yield "Path=" + re.sub(r"[^\x20-\x3a\x3c-\x7e]", "", self.path)
        if _DOMAIN.fullmatch(self.domain):
            yield f"Domain={self.domain.removeprefix('.')}"
        if self.expires is not None:
            at = self.expires.replace(tzinfo=self.expires.tzinfo or UTC)
            yield f"Expires={format_datetime(at.astimezone(UTC), usegmt=True)}"
        if self.max_age:
            yield f"Max-Age={max(self.max_age, 0)}"
        if self.http_only:
            yield "HttpOnly"
        if self.secure:
            yield "Secure"


def request_cookies(values: list[bytes]) -> Iterator[tuple[str, str]]:
    """Names and values of ``Cookie`` headers."""
    for header in values:
        yield from _pairs(header.split(b";"))


def response_cookies(values: list[bytes]) -> Iterator[tuple[str, str]]:
    """Names and values of ``Set-Cookie`` headers."""
    for header in values:
        yield from _pairs(header.split(b";")[:1])


def _pairs(parts: list[bytes]) -> Iterator[tuple[str, str]]:
    for part in parts:
        name, equals, value = part.decode("latin-1").strip().partition("=")
        if equals:
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            yield name, value
