"""The variables of a request for expressions and templates: ``req_method``, ``req_path``,
``req_params``, ``req_headers``, ``req_querystring``. Headers and query strings that are not
forwarded are not visible.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias
from urllib.parse import parse_qs

from ..config.go_names import parameter_of
from ..config.structs import Backend, Endpoint, Service
from ..core.forwarding import build_forward_headers, build_forward_query, canonical_name
from ..core.proxy import Request

Variables: TypeAlias = Mapping[str, Callable[[Request], object]]
"""For each name, the function that reads its value from a request."""

_PLACEHOLDER = re.compile(r"\{([\w\-.:/]+)\}")


def endpoint_variables(endpoint: Endpoint, service: Service) -> Variables:
    """The variables of the client's request."""
    return {
        "req_method": lambda request: request.method,
        "req_path": lambda request: request.path,
        **_forwarded(endpoint, Backend(), service),
    }


def backend_variables(backend: Backend, endpoint: Endpoint, service: Service) -> Variables:
    """The variables of the request to a backend: its method, its path, what its lists forward."""
    method = backend.method.upper()
    return {
        "req_method": lambda request: method,
        "req_path": _build_path(backend.url_pattern),
        **_forwarded(endpoint, backend, service),
    }


def as_lists(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    """Headers by their canonical names, ``X-Request-Id``; their values as UTF-8, as Go has them."""
    lists: dict[str, list[str]] = {}
    for name, value in headers:
        values = lists.setdefault(canonical_name(name).decode("latin-1"), [])
        values.append(value.decode(errors="replace"))
    return lists


def _forwarded(endpoint: Endpoint, backend: Backend, service: Service) -> Variables:
    forward_headers = build_forward_headers(endpoint, backend, service)
    forward_query = build_forward_query(endpoint, backend)

    def querystring(request: Request) -> dict[str, list[str]]:
        if not request.query_string:
            return {}
        return parse_qs(forward_query(request), keep_blank_values=True)

    return {
        "req_params": lambda request: request.params,
        "req_headers": lambda request: as_lists(forward_headers(request)),
        "req_querystring": querystring,
    }


def _build_path(url_pattern: str) -> Callable[[Request], str]:
    """The pattern with its parameters filled in; one without a value stays, as in KrakenD."""
    pattern = "/" + url_pattern.removeprefix("/")

    def path(request: Request) -> str:
        def fill(placeholder: re.Match[str]) -> str:
            name = parameter_of(placeholder[1])
            return request.params.get(name, "{{." + name + "}}")

        return _PLACEHOLDER.sub(fill, pattern)

    return path
