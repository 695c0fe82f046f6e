"""What Python hooks are given: ``gateway/python`` calls a function before a request, or after its
answer. This is public API.

A request hook is ``def hook(request)``, a response hook ``def hook(request, response)``; both may
be ``async``. What they change counts for their endpoint, or for the one backend they stand on. A
request hook that returns a :class:`Response` has answered: no backend is asked. To refuse, raise a
:class:`GatewayError`, whose ``status`` the client gets; any other exception, ``SystemExit`` too,
is a 500 of this request, and logged.

A hook that is not ``async`` runs on the event loop: while it runs, nobody else is served.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, TypeAlias

from msgspec import Raw
from msgspec.json import decode as decode_json

from .core.asgi import STATUSES
from .core.large import check_decoded
from .core.proxy import Request as ProxyRequest
from .core.proxy import Response as ProxyResponse
from .encoding import DecodeError
from .errors import GatewayError, Refused

__all__ = ["GatewayError", "Headers", "Refused", "Request", "Response"]

Pairs: TypeAlias = list[tuple[bytes, bytes]]

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Headers(MutableMapping[str, str]):
    """Names, whatever their case, and values; several of one name are possible.

    ``headers["x-one"]`` is the first value; to set it replaces all of them. Raises ValueError for
    what can be in no header: line breaks, characters beyond Latin-1.
    """

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs

    def __getitem__(self, name: str) -> str:
        for value in self.get_all(name):
            return value
        raise KeyError(name)

    def get_all(self, name: str) -> list[str]:
        """Every value of that name, in order."""
        key = name.lower().encode()
        return [value.decode("latin-1") for each, value in self._pairs if each == key]

    def pairs(self) -> list[tuple[str, str]]:
        """Every name, in lower case, and value, in order."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._pairs]

    def __setitem__(self, name: str, value: str) -> None:
        pair = _encoded(name, value)
        self._remove(pair[0])
        self._pairs.append(pair)

    def add(self, name: str, value: str) -> None:
        """Another value, beside those that are there."""
        self._pairs.append(_encoded(name, value))

    def __delitem__(self, name: str) -> None:
        if not self._remove(name.lower().encode()):
            raise KeyError(name)

    def _remove(self, key: bytes) -> bool:
        kept = [pair for pair in self._pairs if pair[0] != key]
        is_changed = len(kept) < len(self._pairs)
        self._pairs[:] = kept
        return is_changed

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.decode("latin-1") for name, _ in self._pairs))

    def __len__(self) -> int:
        return len({name for name, _ in self._pairs})

    def __repr__(self) -> str:
        return f"Headers({self._pairs})"


def _encoded(name: str, value: str) -> tuple[bytes, bytes]:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not the name of a header: {name!r}")
    if _CONTROLS.search(value):
        raise ValueError(f"{name}: a control character in its value")
    return name.lower().encode(), value.encode("latin-1")


class Request:
    """A request, as the backends of its endpoint see it: with what ``input_headers`` and
    ``input_query_strings`` let through. Headers that a hook sets are forwarded, listed or not.

    ``method``, ``path``: of the client. ``params``: placeholders of the path, first letter in
    upper case (``{user}`` is ``User``). ``remote``: the address of whoever connected.
    """

    __slots__ = ("_headers", "_request")

    def __init__(self, request: ProxyRequest) -> None:
        """``request``: one of its own, with a list of headers of its own."""
        self._request = request
        self._headers: Headers | None = None

    @property
    def method(self) -> str:
        return self._request.method

    @property
    def path(self) -> str:
        return self._request.path

    @property
    def remote(self) -> str:
        return self._request.remote

    @property
    def params(self) -> dict[str, str]:
        return self._request.params

    @property
    def headers(self) -> Headers:
        if self._headers is None:
            pairs = list(self._request.headers)
            self._request.headers = pairs
            self._headers = Headers(pairs)
        return self._headers

    @property
    def query_string(self) -> str:
        """Encoded, without the question mark."""
        return self._request.query_string.decode("latin-1")

    @query_string.setter
    def query_string(self, text: str) -> None:
        self._request.query_string = text.encode("latin-1")

    @property
    def body(self) -> bytes:
        return self._request.body

    @body.setter
    def body(self, body: bytes) -> None:
        self._request.body = bytes(body)


class Response:
    """An answer: the merged one on an endpoint, that of one backend on a backend.

    ``data``: the document as Python's dicts, lists, numbers, of which the hook may change
    everything; None when there is none. It is decoded when the hook first asks for it; one of more
    than 4 MiB or 40,000 values is a GatewayError. ``body``: with ``no-op`` alone, the answer as it
    came. ``headers``: what the client gets besides the gateway's own; those on one of several
    backends are lost, as in KrakenD. ``status``: 200 unless the hook says otherwise (with ``no-op``
    the backend's). ``is_complete``: every backend has answered (``X-Krakend-Completed``).
    """

    __slots__ = ("_data", "_headers", "_is_read", "_response")

    def __init__(
        self,
        data: dict[str, Any] | None = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> None:
        self._response = ProxyResponse(data, body=body)
        self._data = data
        self._is_read = True
        self._headers: Headers | None = None
        self.status = status
        if headers is not None:
            self.headers.update(headers)

    @classmethod
    def of(cls, response: ProxyResponse) -> Response:
        """A view of an answer, which stays as it is: others may share it."""
        view = cls()
        view._response = ProxyResponse(
            response.data,
            response.completeness,
            response.messages,
            response.body,
            response.headers,
            response.status,
        )
        view._is_read = False
        return view

    def finished(self) -> ProxyResponse:
        """The answer that the hook has left."""
        if self._is_read:
            self._response.data = self._data
        return self._response

    @property
    def data(self) -> dict[str, Any] | None:
        if not self._is_read:
            self._data = _copied(self._response.data)
            self._is_read = True
        return self._data

    @data.setter
    def data(self, data: dict[str, Any] | None) -> None:
        if data is not None and not isinstance(data, dict):
            raise TypeError("the document of an answer is a dict, or None")
        self._data = data
        self._is_read = True

    @property
    def headers(self) -> Headers:
        if self._headers is None:
            pairs = list(self._response.headers)
            self._response.headers = pairs
            self._headers = Headers(pairs)
        return self._headers

    @property
    def status(self) -> int:
        return self._response.status

    @status.setter
    def status(self, status: int) -> None:
        if status not in STATUSES:
            raise ValueError(f"no status of an answer: {status!r}")
        self._response.status = int(status)

    @property
    def body(self) -> bytes | None:
        return self._response.body

    @body.setter
    def body(self, body: bytes | None) -> None:
        self._response.body = None if body is None else bytes(body)

    @property
    def is_complete(self) -> bool:
        return self._response.is_complete

    @is_complete.setter
    def is_complete(self, is_complete: bool) -> None:
        response = self._response
        response.completeness = response.completeness.declared(bool(is_complete))


def _copied(data: dict[str, Any] | None) -> Any:
    """A document of its own, without JSON text in it. Raises a GatewayError when it is too deep or
    too large."""
    try:
        check_decoded(data)
        return _copy(data)
    except DecodeError as error:
        raise GatewayError(str(error)) from error
    except RecursionError as error:
        raise GatewayError("nested too deeply") from error


def _copy(value: Any) -> Any:
    if isinstance(value, Raw):
        return decode_json(value)
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(each) for each in value]
    return value
