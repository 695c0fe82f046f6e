"""A response as one JSON value, for schemas, expressions and templates.

Also how a response goes to a helper process, and how the result comes back as a response.
"""

from __future__ import annotations

from typing import TypeAlias

from ..config.json_types import Json
from ..core.large import Pieces, pieces, whole
from ..core.proxy import Completeness, Response
from ..encoding import decode_json, decode_safejson, decode_value, encode_json, to_value


def json_value(response: Response) -> Json:
    """The document; with ``no-op`` the JSON in the body. Numbers are Python numbers.

    Raises :class:`gateway.encoding.DecodeError`.
    """
    value: Json
    if response.body is not None:
        value = decode_value(response.body)
    else:
        value = to_value(response.data or {})
    return value


PackedResponse: TypeAlias = tuple[
    bytes | None, bytes | None, list[tuple[bytes, bytes]], int, Completeness
]
"""What a helper process needs of a response, as values that can be pickled."""

PackedResult: TypeAlias = bytes | Pieces
"""The new body of a ``no-op`` response, or the new document of any other response."""


def pack_response(response: Response) -> PackedResponse:
    """In the gateway: the response, to be sent to a helper process."""
    return (
        None if response.data is None else encode_json(response.data),
        response.body,
        list(response.headers),
        response.status,
        response.completeness,
    )


def unpack_response(packed: PackedResponse) -> Response:
    """In a helper process: the response that the gateway has packed."""
    data, body, headers, status, completeness = packed
    document = None if data is None else decode_json(data)
    return Response(document, completeness, (), body, headers, status)


def pack_result(response: Response, text: bytes) -> PackedResult:
    """In a helper process: JSON text that is to replace the content of the response."""
    return text if response.body is not None else pieces(decode_safejson(text))


def with_result(response: Response, result: PackedResult) -> Response:
    """In the gateway: the response with the result of a helper process."""
    if isinstance(result, bytes):
        return with_body(response, result)
    return response.with_data(whole(result))


def with_value(response: Response, value: Json) -> Response:
    """The response with another value. A list becomes the document's ``collection``, any other
    value that is not an object its ``content``. With ``no-op`` the value becomes the body.
    """
    if response.body is not None:
        return with_body(response, encode_json(value))
    if not isinstance(value, dict):
        value = {"collection" if isinstance(value, list) else "content": value}
    return response.with_data(value)


def with_body(response: Response, body: bytes) -> Response:
    """A ``no-op`` response with another body."""
    changed = response.with_data(response.data)
    changed.body = body
    return changed
