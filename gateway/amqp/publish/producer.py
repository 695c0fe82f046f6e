"""``backend/amqp/producer``: publishes each request as a message, responds after the confirm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ...config.structs import Backend, Endpoint
from ...core.bridge import AsyncioSide
from ...core.component import Assembly, Component
from ...core.failures import name_of
from ...core.proxy import Arrive, Branch, Part, Request, Response, nothing_to_withdraw
from ...errors import (
    GatewayError,
    MessageTooLarge,
    NotConfirmed,
    OutcomeUnknown,
    Unpublishable,
    Unroutable,
    ValueMissing,
)
from ...telemetry.logs import get_logger
from ..advice import ON_PRODUCERS
from ..connection.shared_link import share_link
from ..hosts import host_findings
from ..settings import PRODUCER, ProducerSettings
from ..spans import with_publish_spans
from ..verify import verify_producer
from .findings import findings
from .message_builder import MessageBuilder
from .publication import Outcome, Publication
from .publisher import Publisher, PublishLink, publisher_key

log = get_logger("gateway.amqp")


def build_producer(
    settings: ProducerSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Branch:
    """The branch that publishes the body of each request."""
    builder = MessageBuilder(settings, backend, endpoint, assembly.service, assembly.tracer)
    publisher = share_publisher(settings, backend.host, assembly, name_of(endpoint))
    producer = Producer(settings, publisher, builder, assembly.side)
    branch = Branch(later=producer.later)
    return with_publish_spans(branch, settings, backend.host[0], assembly.tracer)


class Producer:
    """Publishes a message for each request. The response is made when the broker has confirmed or
    refused the message."""

    def __init__(
        self,
        settings: ProducerSettings,
        publisher: Publisher,
        builder: MessageBuilder,
        side: AsyncioSide,
    ) -> None:
        self._publisher = publisher
        self._build_message = builder.build
        self._side = side
        self._exchange = settings.exchange
        self._is_mandatory = settings.mandatory
        self._status = settings.status
        self._gives_receipt = settings.response == "receipt"
        self._confirmed = Response(status=settings.status)

    def later(self, request: Request, arrive: Arrive) -> Callable[[], GatewayError | None]:
        """Publish now. ``arrive`` is called when the broker has confirmed or refused the
        message."""
        try:
            routing_key, message_id, properties = self._build_message(request)
        except (Unpublishable, ValueMissing) as error:
            arrive(error)
            return nothing_to_withdraw
        publication = Publication(
            self._publisher,
            routing_key,
            properties,
            request.body,
            message_id,
            self._is_mandatory,
            self._respond,
            arrive,
        )
        request.taken.append(publication)
        self._publisher.publish(publication)
        return partial(self._withdraw, request, publication)

    def _withdraw(self, request: Request, publication: Publication) -> GatewayError | None:
        if publication.is_over:
            return None
        # The whole body was read, so the message is published although its client has gone.
        seconds = request.deadline - self._side.time()
        if request.client.is_gone and self._publisher.keep_abandoned(publication, seconds):
            publication.respond = self._log_outcome
        else:
            publication.give_back()
        return self._unconfirmed(publication.is_written)

    def _unconfirmed(self, is_written: bool) -> GatewayError:
        if is_written:
            return OutcomeUnknown("published, but not confirmed in time")
        publisher = self._publisher
        error_type = "blocked" if publisher.is_ready else publisher.why_away
        return NotConfirmed(publisher.why_waiting() or "too many unconfirmed messages", error_type)

    def _respond(self, publication: Publication, outcome: Outcome) -> Part:
        if outcome is Outcome.CONFIRMED:
            if self._gives_receipt:
                return Response(self._receipt(publication), status=self._status)
            return self._confirmed
        if outcome is Outcome.UNROUTABLE:
            return Unroutable("the message was routed to no queue")
        why = f"the broker refused the message{publication.reason and ': '}{publication.reason}"
        if outcome is Outcome.TOO_LARGE:
            return MessageTooLarge(why)
        return NotConfirmed(why, "refused" if publication.reason else "nack")

    def _log_outcome(self, publication: Publication, outcome: Outcome) -> Part:
        what = f"exchange {self._exchange!r}: message {publication.shown_id}, whose client has gone"
        log.info("%s: %s", what, outcome.name.lower())
        return self._respond(publication, outcome)

    def _receipt(self, publication: Publication) -> dict[str, str]:
        return {
            # The id of a message that an agent consumed may be any bytes.
            "message_id": publication.shown_id,
            "exchange": self._exchange,
            "routing_key": publication.routing_key.decode(),
        }


def share_publisher(
    settings: ProducerSettings, hosts: Sequence[str], assembly: Assembly, name: str
) -> Publisher:
    """The publisher that all producers with this exchange and broker share. ``name``: of the
    endpoint or agent."""
    limit = assembly.service.gateway.max_unconfirmed
    link = share_link(
        "publish", hosts, assembly, lambda urls: PublishLink(urls, assembly.side, limit)
    )
    return link.shared(
        publisher_key(settings), lambda: Publisher(settings, link, assembly.side)
    ).share_with(settings, name)


COMPONENT = Component(
    PRODUCER,
    ProducerSettings,
    aliases=("github.com/devopsfaith/krakend-amqp/produce",),
    verify=verify_producer,
    backend=build_producer,
    findings=findings,
    advice=ON_PRODUCERS,
    host_findings=host_findings,
)
