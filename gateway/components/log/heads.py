"""What lines of the access log contain of a request: text without control characters and without
credentials."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from urllib.parse import parse_qsl

from ...config.structs import Endpoint, Service
from ...core.asgi import Headers, Scope, find_header
from ...core.observed import FOUND
from ...telemetry.logs import escape
from ..auth.settings import ApiKeysSettings, ValidatorSettings

SCHEMES = frozenset({"basic", "bearer", "digest", "negotiate", "ntlm"})
"""Of an ``Authorization`` a line has the scheme, if it is one of these."""
AUTHORIZATION = frozenset({"authorization", "proxy-authorization"})
CREDENTIALS = AUTHORIZATION | {
    *("cookie", "set-cookie", "api-key", "x-api-key", "x-auth-token", "x-access-token"),
    *("x-csrf-token", "x-xsrf-token", "x-amz-security-token"),
}
"""Headers whose values are secret, in lower case."""
HIDDEN = "***"


def shown_header(headers: Headers, name: str, secret: frozenset[str] | set[str]) -> str:
    """The first value of a header, as a line shows it; "" if there is none. ``name``, ``secret``:
    in lower case."""
    value = find_header(headers, name.encode()).decode(errors="replace")
    if value and name in secret:
        scheme, _, credentials = value.partition(" ")
        is_scheme = credentials and name in AUTHORIZATION and scheme.lower() in SCHEMES
        return scheme if is_scheme else HIDDEN
    return escape(value)


class Secrets:
    """Where the requests of a service have credentials: ``headers``, in lower case, and parameters
    of the query string."""

    def __init__(self, service: Service | None = None) -> None:
        self.headers = set(CREDENTIALS)
        parameters = set()
        for settings in _authentication(service):
            if isinstance(settings, ValidatorSettings):
                self.headers.add(settings.auth_header_name.lower())
                continue
            identifier, strategy = settings.identifier, settings.strategy
            if strategy != "query_string":
                self.headers.add(identifier.lower())
            if strategy != "header":
                parameters.add(re.escape(identifier or "key"))
        self._parameter = re.compile(rf"((?:^|&)(?:{'|'.join(parameters)})=)[^&]*")
        self._has_parameters = bool(parameters)

    def query(self, text: str) -> str:
        return self._parameter.sub(rf"\1{HIDDEN}", text) if self._has_parameters else text


def _authentication(service: Service | None) -> Iterator[ApiKeysSettings | ValidatorSettings]:
    parts: list[Service | Endpoint] = []
    if service is not None:
        parts = [service, *service.endpoints]
    for part in parts:
        for settings in part.extra_config.values():
            if isinstance(settings, ApiKeysSettings | ValidatorSettings):
                yield settings


class Head:
    """The head of a request. Each value is made when a line needs it first, and kept: equal heads
    share this object. ``raw_uri``: with control characters, for those that escape themselves."""

    def __init__(self, scope: Scope, address: str, secrets: Secrets) -> None:
        self.scope = scope
        self.found: Sequence[str] = scope.get(FOUND, ())
        self._address = address
        self._secrets = secrets

    @cached_property
    def address(self) -> str:
        return escape(self._address)

    @cached_property
    def method(self) -> str:
        return escape(self.scope["method"])

    @cached_property
    def path(self) -> str:
        return escape(self.scope["path"])

    @cached_property
    def raw_query(self) -> str:
        return self._secrets.query(self.scope["query_string"].decode(errors="replace"))

    @property
    def query(self) -> str:
        return escape(self.raw_query)

    @cached_property
    def raw_uri(self) -> str:
        path, query = self.scope["path"], self.raw_query
        return f"{path}?{query}" if query else path

    @property
    def uri(self) -> str:
        return escape(self.raw_uri)

    @property
    def endpoint(self) -> str:
        """The path of the endpoint, as in the configuration: known when the request is over. "" if
        there is none."""
        return self.found[0] if self.found else ""

    def header(self, name: str) -> str:
        return shown_header(self.scope["headers"], name, self._secrets.headers)

    def parameter(self, name: str) -> str:
        """The first value of a parameter of the query string; "" if there is none."""
        for each, value in parse_qsl(self.raw_query, keep_blank_values=True):
            if each == name:
                return escape(value)
        return ""
