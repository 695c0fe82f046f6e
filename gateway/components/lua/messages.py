"""``request``, ``response`` and ``ctx``: requests and responses as scripts see them.

(krakend-lua, proxy/request.go, proxy/response.go, router/gin/lua.go)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol
from urllib.parse import quote, quote_plus, unquote

from ...config.go_names import canonical_header, parameter_of
from ...core.forwarding import query_pairs
from ...core.proxy import Request, Response
from ...hooks import Headers, HookRequest, HookResponse
from .sandbox import NOTHING, Arguments, Function, Returned, ScriptError, Session, is_table
from .values import (
    NEED_ARGUMENTS,
    VALUE_BYTES,
    LuaList,
    LuaTable,
    copied,
    handle,
    string_argument,
    text_argument,
    whole_number,
)


class LuaRequest:
    """``path``: as a script sees it. ``names``: from the request's names of parameters to those in
    the endpoint's path; None: a script uses the request's. ``build_url``: the URL that is called.
    """

    def __init__(
        self,
        request: Request,
        path: str,
        names: Mapping[str, str] | None = None,
        build_url: Callable[[Request], str] = lambda request: "",
    ) -> None:
        self.request = request
        self.path = path
        self.names = names
        self.headers = HookRequest(request).headers
        self._build_url = build_url

    @property
    def url(self) -> str:
        """The URL that is called. Once a script has read it, parameters do not change it."""
        if self.request.url is None:
            self.request.url = self._build_url(self.request) or None
        return self.request.url or ""

    def parameters(self) -> dict[str, object]:
        if self.names is None:
            return dict(self.request.params)
        return {
            name: self.request.params[key]
            for key, name in self.names.items()
            if key in self.request.params
        }

    def parameter(self, name: str) -> str:
        """The request's name of a parameter."""
        return name if self.names is None else parameter_of(name)


class LuaResponse:
    """``status``: 0 for a decoded response, as in KrakenD."""

    def __init__(self, response: Response) -> None:
        self.view = HookResponse.of(response)
        self.headers = self.view.headers
        self.status = response.status if response.body is not None else 0
        self._data: dict[str, object] | None = None

    @property
    def data(self) -> dict[str, object]:
        if self._data is None:
            data = self.view.finished().data or {}
            self._data = {name: copied(value) for name, value in data.items()}
        return self._data

    def finished(self, *, has_status: bool) -> Response:
        """The response after the scripts. ``has_status``: with their status (``no-op``)."""
        if self._data is not None:
            self.view.data = self._data
        if has_status and self.status in range(200, 600):
            self.view.status = self.status
        return self.view.finished()


def request_method(session: Session, request: LuaRequest, arguments: Arguments) -> Returned:
    if arguments:
        request.request.method = _string_to_keep(session, arguments[0]).decode(errors="replace")
        return NOTHING
    return b"", request.request.method.encode()


def request_path(session: Session, request: LuaRequest, arguments: Arguments) -> Returned:
    if arguments:
        request.path = _string_to_keep(session, arguments[0]).decode(errors="replace")
        return NOTHING
    return b"", request.path.encode(errors="replace")


def request_query(session: Session, request: LuaRequest, arguments: Arguments) -> Returned:
    """The whole query, encoded."""
    if arguments:
        request.request.query_string = _string_to_keep(session, arguments[0])
        return NOTHING
    return b"", request.request.query_string


def request_url(session: Session, request: LuaRequest, arguments: Arguments) -> Returned:
    """The whole URL. As in KrakenD a script of an endpoint reads "" and cannot change the URL: each
    backend makes its own afterwards."""
    if arguments:
        request.request.url = _string_to_keep(session, arguments[0]).decode(errors="replace")
        return NOTHING
    return b"", request.url.encode(errors="replace")


def context_url(session: Session, request: LuaRequest, arguments: Arguments) -> Returned:
    if arguments:
        path, _, query = _string_to_keep(session, arguments[0]).partition(b"?")
        request.request.path = unquote(path.decode("latin-1"))
        request.request.query_string = query
        return NOTHING
    path, query = quote(request.request.path).encode(), request.request.query_string
    return b"", path + (b"?" + query if query else b"")


def context_host(session: Session, request: LuaRequest, arguments: Arguments) -> Returned:
    if arguments:
        _set_header(session, request.headers, b"Host", arguments[0])
        return NOTHING
    return b"", request.headers.get("host", "").encode("latin-1")


def context_query(session: Session, request: LuaRequest, arguments: Arguments) -> Returned:
    """One query parameter."""
    if not arguments:
        raise ScriptError(NEED_ARGUMENTS)
    name = string_argument(arguments[0])
    pairs = list(query_pairs(request.request.query_string))
    if len(arguments) == 1:
        return b"", next((value for key, value in pairs if key == name), b"")
    kept = [pair for pair in pairs if pair[0] != name]
    changed = sorted([*kept, (name, string_argument(arguments[1]))], key=lambda pair: pair[0])
    session.spend(sum(len(key) + len(value) for key, value in changed))
    joined = "&".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in changed)
    request.request.query_string = joined.encode()
    return NOTHING


def request_params(session: Session, request: LuaRequest, arguments: Arguments) -> Returned:
    if not arguments:
        return handle(session, b"luaTable", LuaTable(request.parameters()))
    name = request.parameter(text_argument(arguments[0]))
    if len(arguments) == 1:
        return b"", request.request.params.get(name, "").encode(errors="replace")
    session.spend(VALUE_BYTES + len(name))
    request.request.params[name] = _string_to_keep(session, arguments[1]).decode(errors="replace")
    return NOTHING


def request_body(session: Session, request: LuaRequest, arguments: Arguments) -> Returned:
    if not arguments:
        return b"", request.request.body
    request.request.body = _string_to_keep(session, arguments[0])
    return NOTHING


class LuaMessage(Protocol):
    """A request or a response."""

    headers: Headers


def message_headers(session: Session, message: LuaMessage, arguments: Arguments) -> Returned:
    if not arguments:
        lists: dict[str, list[str]] = {}
        for name, value in message.headers.pairs():
            lists.setdefault(canonical_header(name), []).append(value)
        return handle(session, b"luaTable", LuaTable({**lists}))
    if len(arguments) == 1:
        name = string_argument(arguments[0]).decode("latin-1")
        return b"", message.headers.get(name, "").encode("latin-1")
    _set_header(session, message.headers, *arguments)
    return NOTHING


def message_header_list(session: Session, message: LuaMessage, arguments: Arguments) -> Returned:
    if not arguments:
        raise ScriptError(NEED_ARGUMENTS)
    name = string_argument(arguments[0]).decode("latin-1")
    if len(arguments) == 1:
        return handle(session, b"luaList", LuaList(list(message.headers.get_all(name))))
    _replace_header(message.headers, name, _list_argument(session, arguments[1]))
    return NOTHING


def _set_header(session: Session, headers: Headers, name: object, value: object) -> None:
    """Replace a header; nil removes it."""
    shown = _string_to_keep(session, name).decode("latin-1")
    values = () if value is None else [_string_to_keep(session, value).decode("latin-1")]
    _replace_header(headers, shown, values)


def _string_to_keep(session: Session, value: object) -> bytes:
    """A string that becomes part of a message, whose bytes are counted."""
    encoded = string_argument(value)
    session.spend(VALUE_BYTES + len(encoded))
    return encoded


def _replace_header(headers: Headers, name: str, values: Iterable[str]) -> None:
    headers.pop(name, None)
    try:
        for value in values:
            headers.add(name, value)
    except ValueError as error:
        raise ScriptError(str(error)) from error


def _list_argument(session: Session, value: object) -> list[str]:
    number = value[True] if is_table(value) else None
    items = session.objects[number] if number is not None else None
    if not isinstance(items, LuaList):
        raise ScriptError("invalid header value, must be a luaList")
    texts = [each for each in items.data if isinstance(each, str)]
    if len(texts) < len(items.data):
        raise ScriptError("invalid header value, must be a luaList of strings")
    session.spend(sum(map(len, texts)))
    return [each.encode().decode("latin-1") for each in texts]


def response_is_complete(session: Session, response: LuaResponse, arguments: Arguments) -> Returned:
    if not arguments:
        return b"", response.view.is_complete
    if not isinstance(arguments[0], bool):
        raise ScriptError("boolean expected")
    response.view.is_complete = arguments[0]
    return NOTHING


def response_status(session: Session, response: LuaResponse, arguments: Arguments) -> Returned:
    if not arguments:
        return b"", response.status
    response.status = whole_number(arguments[0])
    return NOTHING


def response_data(session: Session, response: LuaResponse, arguments: Arguments) -> Returned:
    return handle(session, b"luaTable", LuaTable(response.data))


def response_body(session: Session, response: LuaResponse, arguments: Arguments) -> Returned:
    if not arguments:
        return b"", response.view.body or b""
    response.view.body = _string_to_keep(session, arguments[0])
    return NOTHING


MESSAGES: Mapping[bytes, Function] = {
    b"request.method": request_method,
    b"request.path": request_path,
    b"request.query": request_query,
    b"request.url": request_url,
    b"request.params": request_params,
    b"request.headers": message_headers,
    b"request.headerList": message_header_list,
    b"request.body": request_body,
    b"response.isComplete": response_is_complete,
    b"response.statusCode": response_status,
    b"response.data": response_data,
    b"response.headers": message_headers,
    b"response.headerList": message_header_list,
    b"response.body": response_body,
    b"ctx.method": request_method,
    b"ctx.url": context_url,
    b"ctx.host": context_host,
    b"ctx.query": context_query,
    b"ctx.params": request_params,
    b"ctx.headers": message_headers,
    b"ctx.headerList": message_header_list,
    b"ctx.body": request_body,
}
