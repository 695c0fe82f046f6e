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
from . import conditions, files, modifiers
from .exchange import Answered, Sent
from .parse import Build, MartianError, Modifiers, OnAnswer, UnknownModifierError, parse

log = get_logger("gateway.http")

NAMESPACE = "modifier/martian"
FRESHNESS = (b"cache-control", b"expires", b"pragma", b"vary")
"""Headers of an answer by which a cache knows how long, and for whom, it may be kept."""

TABLE: Mapping[str, Build] = {
    "body.Modifier": modifiers.body_modifier,
    "cookie.Filter": conditions.cookie_filter,
    "cookie.Modifier": modifiers.cookie_modifier,
    "fifo.Group": conditions.fifo_group,
    "header.Append": modifiers.header_append,
    "header.Blacklist": modifiers.header_blacklist,
    "header.Copy": modifiers.header_copy,
    "header.Filter": conditions.header_filter,
    "header.Id": modifiers.header_id,
    "header.Modifier": modifiers.header_modifier,
    "header.RegexFilter": conditions.header_regex_filter,
    "header.Verifier": modifiers.verifier,
    "port.Filter": conditions.port_filter,
    "port.Modifier": modifiers.port_modifier,
    "priority.Group": conditions.priority_group,
    "querystring.Filter": conditions.querystring_filter,
    "querystring.Modifier": modifiers.querystring_modifier,
    "querystring.Verifier": modifiers.verifier,
    "stash.Modifier": modifiers.stash_modifier,
    "static.Modifier": files.static_modifier,
    "status.Modifier": modifiers.status_modifier,
    "status.Verifier": modifiers.verifier,
    "url.Filter": conditions.url_filter,
    "url.Modifier": modifiers.url_modifier,
    "url.RegexFilter": conditions.url_regex_filter,
    "url.Verifier": modifiers.verifier,
}
"""What KrakenD's binary registers."""


class MartianSettings(Struct, frozen=True, kw_only=True):
    """``document``: the namespace as it is, one modifier."""

    document: Any = None


def verify_martian(settings: MartianSettings) -> Iterator[tuple[str, str]]:
    """What is no modifier, but for what only has no effect."""
    if not why_without_effect(settings):
        try:
            parse(settings.document, "", TABLE)
        except MartianError as error:
            yield error.path, str(error)


def why_without_effect(settings: MartianSettings) -> str:
    """Nothing is there, or a name that nobody knows: it makes nothing of the whole, as in KrakenD.
    Empty: it has one."""
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
    """What wraps the transport."""
    if why_without_effect(settings):
        return lambda transport: transport
    modify = parse(settings.document, "", TABLE)
    return lambda transport: _modified(transport, modify)


def build_judged(backend: Backend) -> TransportStage | None:
    """For a cache of this backend: answers as they come, but with the headers that decide how long
    they are kept as the modifiers make them. None: no modifier changes answers.

    The modifiers themselves work outside of the cache, for each request anew: what they make of an
    answer may depend on who asks.
    """
    settings: MartianSettings | None = backend.extra_config.get(NAMESPACE)
    if settings is None or why_without_effect(settings):
        return None
    on_answer = parse(settings.document, "", TABLE).on_answer
    return None if on_answer is None else lambda transport: _judged(transport, on_answer)


def _judged(inner: Transport, modify: OnAnswer) -> Transport:
    def transport(outgoing: BackendRequest, arrive: Arrive) -> Withdraw:
        sent = Sent(outgoing)

        def arrived(result: Result) -> None:
            changed = _changed(result, sent, modify)
            if isinstance(result, HttpResponse) and isinstance(changed, HttpResponse):
                kept = [each for each in result.headers if each[0] not in FRESHNESS]
                decided = [each for each in changed.headers if each[0] in FRESHNESS]
                result = result._replace(headers=[*kept, *decided])
            arrive(result)

        return inner(outgoing, arrived)

    return transport


def _modified(inner: Transport, modify: Modifiers) -> Transport:
    on_request, on_answer = modify

    def transport(outgoing: BackendRequest, arrive: Arrive) -> Withdraw:
        sent = Sent(outgoing)
        if on_request is not None:
            on_request(sent)
            outgoing = sent.outgoing()
        if on_answer is not None:
            arrive = _changing(arrive, sent, on_answer)
        if not sent.is_asked:
            arrive(HttpResponse(200, [], b""))
            return _nothing_to_withdraw
        return inner(outgoing, arrive)

    return transport


def _nothing_to_withdraw() -> None:
    """The answer is here."""


def _changing(arrive: Arrive, sent: Sent, modify: OnAnswer) -> Arrive:
    return lambda result: arrive(_changed(result, sent, modify))


def _changed(result: Result, sent: Sent, modify: OnAnswer) -> Result:
    """Never raises: it runs in the callback of the connection."""
    if isinstance(result, GatewayError):
        return result
    answered = Answered(result, sent)
    try:
        modify(answered)
    except GatewayError as error:
        return error
    except Exception:
        log.exception("%s: while modifying the answer", hide_query(sent.url))
        return GatewayError("internal error")
    return answered.answer()


def findings(settings: MartianSettings, place: Place) -> Iterator[Finding]:
    if reason := why_without_effect(settings):
        yield place.warning(f"{reason}: without effect, as in KrakenD")
    if place.backend is not None and not is_http(place.backend):
        yield place.warning("without effect: it changes what goes over HTTP")


COMPONENT = Component(
    "modifier/martian",
    MartianSettings,
    aliases=("github.com/devopsfaith/krakend-martian",),
    whole="document",
    verify=verify_martian,
    transport=build_martian,
    findings=findings,
)
