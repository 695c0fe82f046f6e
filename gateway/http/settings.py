"""What ``backend/http`` and ``backend/http/client`` hold."""

from __future__ import annotations

from msgspec import Struct


class HttpSettings(Struct, frozen=True, kw_only=True):
    """``backend/http``: what a failing backend becomes.

    ``return_error_details``: a name; the failure is told under the key ``error_<name>``.
    ``return_error_code``: the status is passed on; it counts only without the other.
    """

    return_error_details: str | None = None
    return_error_code: bool = False


class HttpClientSettings(Struct, frozen=True, kw_only=True):
    """``backend/http/client``, as far as KrakenD's open edition has it.

    ``send_body_on_redirect``: a request with a body follows 307 and 308, body and all.
    """

    send_body_on_redirect: bool = False
