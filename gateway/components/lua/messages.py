"""``request``, ``response`` and ``ctx``: requests and answers as scripts see them.

(krakend-lua, proxy/request.go, proxy/response.go, router/gin/lua.go)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote, quote_plus, unquote

from ... import hooks
from ...config.go_names import canonical_header, parameter_of
from ...core.forwarding import query_pairs
from ...core.proxy import Request, Response
from ...hooks import Headers
from .sandbox import NOTHING, Function, Returned, ScriptError, Session
from .values import COST, NEED_ARGUMENTS, Items, LuaTable, decoded, own, stand_for, text, whole

Arguments: TypeAlias = tuple[Any, ...]


class Asked:
    """A request. ``path``: as a script sees it. ``names``: of parameters, as they are called in the
    endpoint's path, by the name that a request has for them; None: as the request has them.
    ``build_url``: where the request goes."""

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
        self.headers = hooks.Request(request).headers
        self._build_url = build_url

    @property
    def url(self) -> str:
        """Where the request goes; once it was read or set, it goes there."""
        if self.request.url is None:
            self.request.url = self._build_url(self.request) or None
        return self.request.url or ""

    def parameters(self) -> dict[str, Any]:
        if self.names is None:
            return dict(self.request.params)
        return {
            name: self.request.params[key]
            for key, name in self.names.items()
            if key in self.request.params
        }

    def parameter(self, name: str) -> str:
        """Under which name the request has it."""
        return name if self.names is None else parameter_of(name)


class LuaResponse:
    """An answer. ``status``: 0 for one that was decoded, as in KrakenD."""

    def __init__(self, response: Response) -> None:
        self.view = hooks.Response.of(response)
        self.headers = self.view.headers
        self.status = response.status if response.body is not None else 0
        self._data: dict[str, Any] | None = None

    @property
    def data(self) -> dict[str, Any]:
        if self._data is None:
            self._data = own(self.view.finished().data or {})
        return self._data

    def finished(self, *, has_status: bool) -> Response:
        """What the scripts have left. ``has_status``: theirs counts (``no-op``)."""
        if self._data is not None:
            self.view.data = self._data
        if has_status and self.status in range(200, 600):
            self.view.status = self.status
        return self.view.finished()


def request_method(session: Session, asked: Asked, arguments: Arguments) -> Returned:
    if arguments:
        asked.request.method = _spent(session, arguments[0]).decode(errors="replace")
        return NOTHING
    return b"", asked.request.method.encode()


def request_path(session: Session, asked: Asked, arguments: Arguments) -> Returned:
    if arguments:
        asked.path = _spent(session, arguments[0]).decode(errors="replace")
        return NOTHING
    return b"", asked.path.encode(errors="replace")


def request_query(session: Session, asked: Asked, arguments: Arguments) -> Returned:
    """The whole of it, encoded."""
    if arguments:
        asked.request.query_string = _spent(session, arguments[0])
        return NOTHING
    return b"", asked.request.query_string


def request_url(session: Session, asked: Asked, arguments: Arguments) -> Returned:
    """The whole of it. A script of the endpoint reads "", and none of the backends goes by what it
    sets, as in KrakenD: a backend's URL is made afterwards."""
    if arguments:
        asked.request.url = _spent(session, arguments[0]).decode(errors="replace")
        return NOTHING
    return b"", asked.url.encode(errors="replace")


def context_url(session: Session, asked: Asked, arguments: Arguments) -> Returned:
    request = asked.request
    if arguments:
        path, _, query = _spent(session, arguments[0]).partition(b"?")
        request.path = unquote(path.decode("latin-1"))
        request.query_string = query
        return NOTHING
    path = quote(request.path).encode()
    return b"", path + (b"?" + request.query_string if request.query_string else b"")


def context_host(session: Session, asked: Asked, arguments: Arguments) -> Returned:
    if arguments:
        _set_header(session, asked.headers, b"Host", arguments[0])
        return NOTHING
    return b"", asked.headers.get("host", "").encode("latin-1")


def context_query(session: Session, asked: Asked, arguments: Arguments) -> Returned:
    """One query string, by its name."""
    if not arguments:
        raise ScriptError(NEED_ARGUMENTS)
    name = text(arguments[0])
    pairs = list(query_pairs(asked.request.query_string))
    if len(arguments) == 1:
        return b"", next((value for key, value in pairs if key == name), b"")
    kept = [pair for pair in pairs if pair[0] != name]
    changed = sorted([*kept, (name, text(arguments[1]))], key=lambda pair: pair[0])
    session.spend(sum(len(key) + len(value) for key, value in changed))
    joined = "&".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in changed)
    asked.request.query_string = joined.encode()
    return NOTHING


def request_params(session: Session, asked: Asked, arguments: Arguments) -> Returned:
    if not arguments:
        return stand_for(session, b"luaTable", LuaTable(asked.parameters()))
    name = asked.parameter(decoded(arguments[0]))
    if len(arguments) == 1:
        return b"", asked.request.params.get(name, "").encode(errors="replace")
    session.spend(COST + len(name))
    asked.request.params[name] = _spent(session, arguments[1]).decode(errors="replace")
    return NOTHING


def request_body(session: Session, asked: Asked, arguments: Arguments) -> Returned:
    if not arguments:
        return b"", asked.request.body
    asked.request.body = _spent(session, arguments[0])
    return NOTHING


class Sided(NamedTuple):
    """The functions that both sides have."""

    headers: Function
    header_list: Function


def _header_functions(headers_of: Callable[[Any], Headers]) -> Sided:
    def headers(session: Session, subject: Any, arguments: Arguments) -> Returned:
        found = headers_of(subject)
        if not arguments:
            lists: dict[str, Any] = {}
            for name, value in found.pairs():
                lists.setdefault(canonical_header(name), []).append(value)
            return stand_for(session, b"luaTable", LuaTable(lists))
        if len(arguments) == 1:
            name = text(arguments[0]).decode("latin-1")
            return b"", found.get(name, "").encode("latin-1")
        _set_header(session, found, *arguments)
        return NOTHING

    def header_list(session: Session, subject: Any, arguments: Arguments) -> Returned:
        found = headers_of(subject)
        if not arguments:
            raise ScriptError(NEED_ARGUMENTS)
        name = text(arguments[0]).decode("latin-1")
        if len(arguments) == 1:
            return stand_for(session, b"luaList", Items(list(found.get_all(name))))
        _set_all(found, name, _listed(session, arguments[1]))
        return NOTHING

    return Sided(headers, header_list)


def _set_header(session: Session, headers: Headers, name: Any, value: Any) -> None:
    """nil removes it."""
    shown = _spent(session, name).decode("latin-1")
    values = () if value is None else [_spent(session, value).decode("latin-1")]
    _set_all(headers, shown, values)


def _spent(session: Session, value: Any) -> bytes:
    """A text that becomes part of a message."""
    encoded = text(value)
    session.spend(COST + len(encoded))
    return encoded


def _set_all(headers: Headers, name: str, values: Iterable[str]) -> None:
    headers.pop(name, None)
    try:
        for value in values:
            headers.add(name, value)
    except ValueError as error:
        raise ScriptError(str(error)) from error


def _listed(session: Session, value: Any) -> list[str]:
    referred = value[True] if hasattr(value, "items") else None
    items = session.objects[referred] if referred is not None else None
    if not isinstance(items, Items):
        raise ScriptError("invalid header value, must be a luaList")
    texts = [each for each in items.data if isinstance(each, str)]
    if len(texts) < len(items.data):
        raise ScriptError("invalid header value, must be a luaList of strings")
    session.spend(sum(map(len, texts)))
    return [each.encode().decode("latin-1") for each in texts]


def response_is_complete(session: Session, answer: LuaResponse, arguments: Arguments) -> Returned:
    if not arguments:
        return b"", answer.view.is_complete
    if not isinstance(arguments[0], bool):
        raise ScriptError("boolean expected")
    answer.view.is_complete = arguments[0]
    return NOTHING


def response_status(session: Session, answer: LuaResponse, arguments: Arguments) -> Returned:
    if not arguments:
        return b"", answer.status
    answer.status = whole(arguments[0])
    return NOTHING


def response_data(session: Session, answer: LuaResponse, arguments: Arguments) -> Returned:
    return stand_for(session, b"luaTable", LuaTable(answer.data))


def response_body(session: Session, answer: LuaResponse, arguments: Arguments) -> Returned:
    if not arguments:
        return b"", answer.view.body or b""
    answer.view.body = _spent(session, arguments[0])
    return NOTHING


OF_REQUESTS = _header_functions(lambda asked: asked.headers)
OF_RESPONSES = _header_functions(lambda answer: answer.headers)

MESSAGES: Mapping[bytes, Function] = {
    b"request.method": request_method,
    b"request.path": request_path,
    b"request.query": request_query,
    b"request.url": request_url,
    b"request.params": request_params,
    b"request.headers": OF_REQUESTS.headers,
    b"request.headerList": OF_REQUESTS.header_list,
    b"request.body": request_body,
    b"response.isComplete": response_is_complete,
    b"response.statusCode": response_status,
    b"response.data": response_data,
    b"response.headers": OF_RESPONSES.headers,
    b"response.headerList": OF_RESPONSES.header_list,
    b"response.body": response_body,
    b"ctx.method": request_method,
    b"ctx.url": context_url,
    b"ctx.host": context_host,
    b"ctx.query": context_query,
    b"ctx.params": request_params,
    b"ctx.headers": OF_REQUESTS.headers,
    b"ctx.headerList": OF_REQUESTS.header_list,
    b"ctx.body": request_body,
}
