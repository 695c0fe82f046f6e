"""Messages that are given up, on their way to where they are kept: confirmed, before they go."""

from __future__ import annotations

import logging
from uuid import uuid4

from anyio import Event

from ..assembly import Assembly
from ..errors import GatewayError, NotConfirmed, Unroutable
from ..proxy import Part, Response
from .buffer import Delivery
from .message import decode_properties, encode_again
from .producer import share_publisher
from .publication import Outcome, Publication
from .settings import DeadLetter, ProducerSettings

log = logging.getLogger("gateway.amqp")


class DeadLetters:
    """Publishes to one exchange, with one key. The exchange must exist."""

    def __init__(self, target: DeadLetter, host: str, assembly: Assembly) -> None:
        settings = ProducerSettings(exchange=target.exchange, declare="none")
        self._publisher = share_publisher(settings, (host,), assembly)
        self._routing_key = target.routing_key.encode()

    async def publish(self, delivery: Delivery) -> None:
        """Wait until the broker has it. Raises :class:`GatewayError` when it does not."""
        parts: list[Part] = []
        arrived = Event()

        def arrive(part: Part) -> None:
            parts.append(part)
            arrived.set()

        properties = decode_properties(delivery.header)
        properties.message_id = properties.message_id or uuid4().hex
        publication = Publication(
            self._publisher,
            self._routing_key,
            encode_again(properties),
            delivery.body,
            properties.message_id.encode(),
            True,  # a letter that no queue takes would be lost
            _part,
            arrive,
        )
        self._publisher.publish(publication)
        try:
            await arrived.wait()
        finally:
            publication.give_back()
        if isinstance(parts[0], GatewayError):
            log.warning("a dead letter could not be published: %s", parts[0])
            raise parts[0]


def _part(publication: Publication, outcome: Outcome) -> Part:
    if outcome is Outcome.CONFIRMED:
        return Response()
    if outcome is Outcome.UNROUTABLE:
        return Unroutable("no queue takes dead letters")
    return NotConfirmed("the broker refused the dead letter")
