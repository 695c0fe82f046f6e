"""What an answer holds, as one value that a schema, an expression or a template can look into."""

from __future__ import annotations

from typing import Any

from ..encoding import decode_value, to_value
from ..proxy import Response


def value_of(response: Response) -> Any:
    """The document; for ``no-op`` the JSON in the body. Numbers are numbers.

    Raises :class:`gateway.encoding.DecodeError`.
    """
    if response.body is not None:
        return decode_value(response.body)
    return to_value(response.data or {})
