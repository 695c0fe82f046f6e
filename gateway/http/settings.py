"""Settings of ``backend/http`` and ``backend/http/client``."""

from __future__ import annotations

from msgspec import Struct


class HttpSettings(Struct, frozen=True, kw_only=True):
    """``backend/http``: what becomes of a response that is not a success (200 or 201)."""

    return_error_details: str | None = None
    """A name. The failure (status, body, content type) becomes part of the response, under the key
    ``error_<name>``. Absent: it does not."""
    return_error_code: bool = False
    """The client gets the status of the backend instead of 500. Without effect when
    ``return_error_details`` is set."""


class HttpClientSettings(Struct, frozen=True, kw_only=True):
    """``backend/http/client``, as far as KrakenD's open edition has it."""

    send_body_on_redirect: bool = False
    """A request with a body follows the redirects 307 and 308, and its body is sent again. By
    default such a redirect is not followed."""
