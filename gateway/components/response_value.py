"""What an answer holds, as one value that a schema, an expression or a template can look into."""

from __future__ import annotations

from typing import Any, TypeAlias

from ..core.large import Pieces, pieces, whole
from ..core.proxy import Completeness, Response
from ..encoding import decode_json, decode_safejson, decode_value, encode_json, to_value


def value_of(response: Response) -> Any:
    """The document; for ``no-op`` the JSON in the body. Numbers are numbers.

    Raises :class:`gateway.encoding.DecodeError`.
    """
    if response.body is not None:
        return decode_value(response.body)
    return to_value(response.data or {})


Portable: TypeAlias = tuple[
    bytes | None, bytes | None, list[tuple[bytes, bytes]], int, Completeness
]


def to_helper(response: Response) -> Portable:
    """What a helper process needs of an answer."""
    data = None if response.data is None else encode_json(response.data)
    headers = list(response.headers)
    return (
        data,
        response.body,
        headers,
        response.status,
        response.completeness,
    )


def in_helper(portable: Portable) -> Response:
    """The answer, in a helper process."""
    data, body, headers, status, completeness = portable
    document = None if data is None else decode_json(data)
    return Response(document, completeness, (), body, headers, status)


def from_helper(response: Response, text: bytes) -> bytes | Pieces:
    """In a helper: JSON text that becomes the answer; for ``no-op`` it is the body."""
    return text if response.body is not None else pieces(decode_safejson(text))


def with_returned(response: Response, returned: bytes | Pieces) -> Response:
    """The answer with what :func:`from_helper` has returned."""
    if isinstance(returned, bytes):
        return with_body(response, returned)
    return response.with_data(whole(returned))


def with_value(response: Response, value: Any) -> Response:
    """The answer with another value: a list is the document's ``collection``, anything that is no
    object its ``content``. For ``no-op`` the value is the body."""
    if response.body is not None:
        return with_body(response, encode_json(value))
    if not isinstance(value, dict):
        value = {"collection" if isinstance(value, list) else "content": value}
    return response.with_data(value)


def with_body(response: Response, body: bytes) -> Response:
    """An answer that is passed on as it came, but for its body."""
    changed = response.with_data(response.data)
    changed.body = body
    return changed
