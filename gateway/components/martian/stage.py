"""``modifier/martian`` around the transport of one backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from ...config.findings import Finding
from ...config.structs import Backend, Endpoint
from ...core.component import Assembly, Component, Place
from ...core.rule import is_http
from ...errors import GatewayError
from ...http.connection import HttpResponse
from ...http.request_head import BackendRequest
from ...http.targets import hide_query
from ...http.transport import Arrive, Result, Transport, TransportStage, Withdraw
from ...telemetry.logs import get_logger
from . import filters, modifiers, static_files
from .messages import MartianRequest, MartianResponse
from .parse import BuildModifier, MartianError, Modifiers, OnResponse, UnknownModifierError, parse

log = get_logger("gateway.http")

NAMESPACE = "modifier/martian"
FRESHNESS_HEADERS = (b"cache-control", b"expires", b"pragma", b"vary")
"""Headers of a response that decide how long, and for which requests, a cache may use it."""

TABLE: Mapping[str, BuildModifier] = {
    "body.Modifier": modifiers.body_modifier,
    "cookie.Filter": filters.cookie_filter,
    "cookie.Modifier": modifiers.cookie_modifier,
    "fifo.Group": filters.fifo_group,
    "header.Append": modifiers.header_append,
    "header.Blacklist": modifiers.header_blacklist,
    "header.Copy": modifiers.header_copy,
    "header.Filter": filters.header_filter,
    "header.Id": modifiers.header_id,
    "header.Modifier": modifiers.header_modifier,
    "header.RegexFilter": filters.header_regex_filter,
    "header.Verifier": modifiers.verifier,
    "port.Filter": filters.port_filter,
    "port.Modifier": modifiers.port_modifier,
    "priority.Group": filters.priority_group,
    "querystring.Filter": filters.querystring_filter,
    "querystring.Modifier": modifiers.querystring_modifier,
    "querystring.Verifier": modifiers.verifier,
    "stash.Modifier": modifiers.stash_modifier,
    "static.Modifier": static_files.static_modifier,
    "status.Modifier": modifiers.status_modifier,
    "status.Verifier": modifiers.verifier,
    "url.Filter": filters.url_filter,
    "url.Modifier": modifiers.url_modifier,
    "url.RegexFilter": filters.url_regex_filter,
    "url.Verifier": modifiers.verifier,
}
"""The modifiers that KrakenD's binary registers."""


class MartianSettings(Struct, frozen=True, kw_only=True):
    """``modifier/martian``."""

    document: Any = None
    """One modifier, filter or group: an object with its name as the only key."""


def verify_martian(settings: MartianSettings) -> Iterator[tuple[str, str]]:
    """Errors in the modifiers, except those that KrakenD ignores."""
    if not why_without_effect(settings):
        try:
            parse(settings.document, "", TABLE)
        except MartianError as error:
            yield error.path, str(error)


def why_without_effect(settings: MartianSettings) -> str:
    """Why the whole namespace is ignored; empty: it is not. As in KrakenD one unknown name of a
    modifier disables all of them."""
    if not settings.document or not isinstance(settings.document, dict):
        return "expected a modifier"
    try:
        parse(settings.document, "", TABLE)
    except UnknownModifierError as error:
        return f"{error.path}: {error}"
    except MartianError:
        return ""
    return ""


def build_martian(
    settings: MartianSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> TransportStage:
    """Modify the requests and responses of one backend."""
    if why_without_effect(settings):
        return lambda transport: transport
    modify = parse(settings.document, "", TABLE)
    return lambda transport: _with_modifiers(transport, modify)


def build_freshness_stage(backend: Backend) -> TransportStage | None:
    """For a cache of this backend: responses as received, except that their
    :data:`FRESHNESS_HEADERS` are the modified ones. None: no modifier changes responses.

    The modifiers themselves run outside of the cache, once per request: their result may depend on
    the request.
    """
    settings: MartianSettings | None = backend.extra_config.get(NAMESPACE)
    if settings is None or why_without_effect(settings):
        return None
    on_response = parse(settings.document, "", TABLE).on_response
    return (
        None if on_response is None else lambda transport: _with_freshness(transport, on_response)
    )


def _with_freshness(inner: Transport, modify: OnResponse) -> Transport:
    def transport(outgoing: BackendRequest, arrive: Arrive) -> Withdraw:
        request = MartianRequest(outgoing)

        def arrived(result: Result) -> None:
            modified = _modified_result(result, request, modify)
            if isinstance(result, HttpResponse) and isinstance(modified, HttpResponse):
                own = [each for each in result.headers if each[0] not in FRESHNESS_HEADERS]
                freshness = [each for each in modified.headers if each[0] in FRESHNESS_HEADERS]
                result = result._replace(headers=[*own, *freshness])
            arrive(result)

        return inner(outgoing, arrived)

    return transport


def _with_modifiers(inner: Transport, modify: Modifiers) -> Transport:
    on_request, on_response = modify

    def transport(outgoing: BackendRequest, arrive: Arrive) -> Withdraw:
        request = MartianRequest(outgoing)
        if on_request is not None:
            on_request(request)
            outgoing = request.to_backend_request()
        if on_response is not None:
            arrive = _modifying(arrive, request, on_response)
        if not request.calls_backend:
            arrive(HttpResponse(200, [], b""))
            return _nothing_to_withdraw
        return inner(outgoing, arrive)

    return transport


def _nothing_to_withdraw() -> None:
    """The response has arrived already."""


def _modifying(arrive: Arrive, request: MartianRequest, modify: OnResponse) -> Arrive:
    return lambda result: arrive(_modified_result(result, request, modify))


def _modified_result(result: Result, request: MartianRequest, modify: OnResponse) -> Result:
    """Never raises: it runs in the callback of the connection."""
    if isinstance(result, GatewayError):
        return result
    response = MartianResponse(result, request)
    try:
        modify(response)
    except GatewayError as error:
        return error
    except Exception:
        log.exception("%s: error while modifying the response", hide_query(request.url))
        return GatewayError("internal error")
    return response.to_http_response()


def findings(settings: MartianSettings, place: Place) -> Iterator[Finding]:
    if reason := why_without_effect(settings):
        yield place.warning(f"{reason}: the whole namespace is ignored, as in KrakenD")
    if place.backend is not None and not is_http(place.backend):
        yield place.warning("has no effect: only HTTP backends have modifiers")


COMPONENT = Component(
    "modifier/martian",
    MartianSettings,
    aliases=("github.com/devopsfaith/krakend-martian",),
    whole="document",
    verify=verify_martian,
    transport=build_martian,
    findings=findings,
)
