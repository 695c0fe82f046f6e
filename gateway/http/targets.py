"""``host`` and ``url_pattern``: the URL of a request to a backend. Pure.

The value of a parameter is data: it may add segments to the path, and nothing else.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from typing import NamedTuple, TypeAlias
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from ..config.go_names import parameter_of
from ..errors import BackendFailure

PORTS = {"http": 80, "https": 443}

_PLACEHOLDER = re.compile(r"\{([\w\-.:/]+)\}")
_PLAIN = re.compile(r"[\w\-~:@,;=$!'()*+&/]*", re.ASCII)
"""A value that needs no encoding in a path. Without dots: ".." leads to the directory above."""
_ENCODED_PATH = re.compile(r"(?:[\w\-.~:@,;=$!'()*+&/\[\]]|%[\da-fA-F]{2})*", re.ASCII)
_BARE_PERCENT = re.compile(r"%(?![\da-fA-F]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_QUERY_VALUE = re.compile(r"=[^&#]*")
_DOTS = re.compile(r"(?:^|[/\\])\.\.?(?:;[^/\\]*)?(?:[/\\]|$)")
"""A dot segment, also for servers that divide at backslashes or ignore what follows a ";"."""

CLAIM = "JWT."
"""The prefix of parameters that are claims of a token."""

IN_PATH = "/:@,;=$&+-_.~"
"""What Go does not encode in a path (net/url, encodePath)."""
IN_QUERY = "/:@,;=$&+-_.~!'()*?%[]{}|\\^`"
IN_QUERY_VALUE = "/:@,$-_.~!'()*?"

Values: TypeAlias = dict[str, str]
BuildTarget: TypeAlias = Callable[[Values], str]


class Origin(NamedTuple):
    """The server of connections. ``authority``: as in the ``Host`` header."""

    scheme: str
    host: str
    port: int
    authority: str


class Host(NamedTuple):
    """An entry of ``host``. ``base``: its path. ``login``: the value of ``Authorization``, or b"".
    ``host_header``: the ``Host`` header, if it is not the authority."""

    origin: Origin
    base: str = ""
    login: bytes = b""
    host_header: str = ""

    def show(self, target: str) -> str:
        """The URL without credentials."""
        return f"{self.origin.scheme}://{self.origin.authority}{target}"


class BadTarget(BackendFailure):
    """The value of a parameter cannot be part of the backend's URL."""


def parse_host(text: str) -> Host:
    """Without a scheme it is ``http``. Raises ValueError, without credentials in its text."""
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme not in PORTS:
        raise ValueError(f'unsupported protocol scheme "{parts.scheme}"')
    if not parts.hostname or _CONTROL.search(text) or parts.query or parts.fragment:
        raise ValueError("not the URL of a host")
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    shown = f"[{host}]" if ":" in host else host
    authority = f"{shown}:{parts.port}" if parts.port is not None else shown
    login = b""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = b"Basic " + b64encode(pair.encode())
    origin = Origin(parts.scheme, host, parts.port or PORTS[parts.scheme], authority)
    return Host(origin, parts.path.rstrip("/"), login)


def parse_url(url: str) -> tuple[Host, str]:
    """A whole URL as host and target. Raises ValueError, without credentials in its text."""
    parts = urlsplit(url)
    host = parse_host(f"{parts.scheme}://{parts.netloc}")
    target = quote_path(parts.path or "/")
    return host, f"{target}?{quote(parts.query, safe=IN_QUERY)}" if parts.query else target


def shown_pattern(url_pattern: str) -> str:
    """A pattern as in KrakenD's messages: ``/users/{{.Id}}``."""
    shown = _PLACEHOLDER.sub(lambda place: _unresolved(place[1]), _rooted(url_pattern))
    return hide_query(shown)


def hide_query(url: str) -> str:
    """For messages: the values of the query, which may be secrets, are replaced by ``***``."""
    rest, mark, query = url.partition("?")
    return rest + mark + _QUERY_VALUE.sub("=***", query)


def build_target(url_pattern: str) -> BuildTarget:
    """Parameters -> path and query, encoded. A fixed query is not changed.

    As in KrakenD a placeholder without a value stays in the URL, unless it is a claim of a token.
    The function that is returned raises :class:`BadTarget`.
    """
    path, mark, query = _rooted(url_pattern).partition("#")[0].partition("?")
    fill_path = _build_fill(path, _path_value, quote_path)
    fill_query = _build_fill(query, _query_value, _quote_query)
    if not _PLACEHOLDER.search(url_pattern):
        fixed = fill_path({}) + mark + fill_query({})
        return lambda params: fixed
    if not mark:
        return fill_path
    return lambda params: f"{fill_path(params)}?{fill_query(params)}"


def quote_path(path: str) -> str:
    """A path as in Go: one that is encoded correctly is not changed (net/url, EscapedPath)."""
    if _ENCODED_PATH.fullmatch(path):
        return path
    return quote(unquote_to_bytes(path), safe=IN_PATH)


def _build_fill(
    pattern: str, quote_value: Callable[[str], str], quote_fixed: Callable[[str], str]
) -> BuildTarget:
    texts = _PLACEHOLDER.split(pattern)  # fixed, name, fixed, name ... fixed
    fixed = [quote_fixed(text) for text in texts[::2]]
    names = [(parameter_of(name), quote_fixed(_unresolved(name))) for name in texts[1::2]]
    if not names:
        return lambda params: fixed[0]
    first, rest = fixed[0], list(zip(names, fixed[1:], strict=True))
    has_dots = any(_DOTS.search(text) for text in texts[::2])

    def fill(params: Values) -> str:
        filled = first
        for (name, unresolved), text in rest:
            value = params.get(name)
            if value is None and name.startswith(CLAIM):
                raise BadTarget(f"the token has no claim {name.removeprefix(CLAIM)}")
            filled += (unresolved if value is None else quote_value(value)) + text
        if "/." in filled and not has_dots and _DOTS.search(filled):
            raise BadTarget("dot segment in a parameter")
        return filled

    return fill


def _path_value(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    if _CONTROL.search(value):
        raise BadTarget("invalid control character in URL")
    if _DOTS.search(unquote(value)):
        raise BadTarget("dot segment in a parameter")
    # Escapes are kept, so that no value is encoded twice.
    return quote(_BARE_PERCENT.sub("%25", value), safe=IN_PATH + "!'()*%")


def _query_value(value: str) -> str:
    if _CONTROL.search(value):
        raise BadTarget("invalid control character in URL")
    return quote(value, safe=IN_QUERY_VALUE)


def _quote_query(query: str) -> str:
    return quote(query, safe=IN_QUERY)


def _rooted(url_pattern: str) -> str:
    return "/" + url_pattern.removeprefix("/")


def _unresolved(name: str) -> str:
    return "{{." + parameter_of(name) + "}}"
