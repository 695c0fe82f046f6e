"""The arguments of Python hooks: ``gateway/python`` calls a function before the backends, or after
them. This is public API.

A request hook is ``def hook(request)``, a response hook ``def hook(request, response)``; both may
be ``async``. A change has an effect on the hook's endpoint, or on its one backend. When a request
hook returns a :class:`HookResponse`, no backend is called. To refuse a request, raise a
:class:`GatewayError`: the client gets its ``status``. Any other exception, also ``SystemExit``, is
logged, and the request gets a 500.

A hook that is not ``async`` runs on the event loop: no other request is served meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, TypeAlias

from msgspec import Raw
from msgspec.json import decode as decode_json

from .core.asgi import STATUSES, TOKEN
from .core.large import check_decoded
from .core.proxy import Request, Response
from .encoding import DecodeError
from .errors import GatewayError, Refused

__all__ = ["GatewayError", "Headers", "HookRequest", "HookResponse", "Refused"]

HeaderPairs: TypeAlias = list[tuple[bytes, bytes]]
Data: TypeAlias = dict[str, Any]
"""A document, whose values a hook may read and change."""

_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Headers(MutableMapping[str, str]):
    """Names, in any letter case, and values. A name may have several values.

    ``headers["x-one"]`` is the first value; setting it replaces all of them. Raises ValueError for
    line breaks and for characters that Latin-1 does not have.
    """

    __slots__ = ("_pairs",)

    def __init__(self, pairs: HeaderPairs) -> None:
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
        """Add a value and keep the existing ones."""
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
    if not TOKEN.fullmatch(name):
        raise ValueError(f"not the name of a header: {name!r}")
    if _CONTROLS.search(value):
        raise ValueError(f"{name}: a control character in its value")
    return name.lower().encode(), value.encode("latin-1")


class HookRequest:
    """A request as the backends of its endpoint get it: with the headers in ``input_headers`` and
    the parameters in ``input_query_strings``. Headers that a hook sets are always forwarded.

    ``method``, ``path``: those of the client. ``params``: the placeholders of the path, first
    letter in upper case (``{user}`` is ``User``). ``remote``: the address of the connected client.
    """

    __slots__ = ("_headers", "_request")

    def __init__(self, request: Request) -> None:
        """``request``: a copy for this hook, with its own list of headers."""
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


class HookResponse:
    """A response: on an endpoint the merged one, on a backend that of this backend.

    ``data``: the document as Python's dicts, lists and numbers, which the hook may change; None
    when there is no document. It is decoded when the hook first reads it; more than 4 MiB or 40,000
    values raise a GatewayError. ``body``: the bytes of the response, only with ``no-op``.
    ``headers``: for the client, in addition to the gateway's own; those of one of several backends
    are lost, as in KrakenD. ``status``: 200 unless the hook changes it (with ``no-op`` that of the
    backend). ``is_complete``: every backend has responded (``X-Krakend-Completed``).
    """

    __slots__ = ("_data", "_headers", "_is_read", "_response")

    def __init__(
        self,
        data: Data | None = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> None:
        self._response = Response(data, body=body)
        self._data = data
        self._is_read = True
        self._headers: Headers | None = None
        self.status = status
        if headers is not None:
            self.headers.update(headers)

    @classmethod
    def of(cls, response: Response) -> HookResponse:
        """A copy for this hook: other hooks may share the original."""
        view = cls()
        view._response = Response(
            response.data,
            response.completeness,
            response.messages,
            response.body,
            response.headers,
            response.status,
        )
        view._is_read = False
        return view

    def finished(self) -> Response:
        """The response with the changes of the hook."""
        if self._is_read:
            self._response.data = self._data
        return self._response

    @property
    def data(self) -> Data | None:
        if not self._is_read:
            self._data = _copied(self._response.data)
            self._is_read = True
        return self._data

    @data.setter
    def data(self, data: Data | None) -> None:
        if data is not None and not isinstance(data, dict):
            raise TypeError("the document of a response must be a dict or None")
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
            raise ValueError(f"not a status of a response: {status!r}")
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


def _copied(data: Data | None) -> Data | None:
    """A copy without undecoded JSON. Raises a GatewayError when it is too deep or too large."""
    try:
        check_decoded(data)
        return None if data is None else {key: _copy(each) for key, each in data.items()}
    except DecodeError as error:
        raise GatewayError(str(error)) from error
    except RecursionError as error:
        raise GatewayError("nested too deeply") from error


def _copy(value: object) -> object:
    if isinstance(value, Raw):
        return decode_json(value)
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(each) for each in value]
    return value
