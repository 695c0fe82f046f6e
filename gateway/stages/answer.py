"""What an answer holds, as one value that a schema, an expression or a template can look into."""

from __future__ import annotations

from typing import Any

from ..encoding import decode_value, encode_json, to_value
from ..proxy import Response


def value_of(response: Response) -> Any:
    """The document; for ``no-op`` the JSON in the body. Numbers are numbers.

    Raises :class:`gateway.encoding.DecodeError`.
    """
    if response.body is not None:
        return decode_value(response.body)
    return to_value(response.data or {})


def with_value(response: Response, value: Any) -> Response:
    """The answer with another value: a list is the document's ``collection``, anything that is no
    object its ``content``. For ``no-op`` the value is the body."""
    if response.body is not None:
        return with_body(response, encode_json(value))
    if not isinstance(value, dict):
        value = {"collection" if isinstance(value, list) else "content": value}
    return response.with_data(value, response.is_complete)


def with_body(response: Response, body: bytes) -> Response:
    """An answer that is passed on as it came, but for its body."""
    changed = response.with_data(response.data, response.is_complete)
    changed.body = body
    return changed
