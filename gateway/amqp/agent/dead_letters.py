"""Messages that are given up, on their way to where they are kept: confirmed, before they go."""

from __future__ import annotations

from uuid import uuid4

from anyio import Event, fail_after

from ...core.component import Assembly
from ...core.proxy import Part, Response
from ...errors import GatewayError, NotConfirmed, OutcomeUnknown, Unroutable
from ...telemetry.logs import get_logger
from ..consume.buffer import Delivery
from ..publish.producer import share_publisher
from ..publish.publication import Outcome, Publication
from ..settings import DeadLetter, ProducerSettings
from ..wire.message import ROUTING_HEADERS, short_string
from ..wire.properties import MESSAGE_ID, USER_ID, join, keep_fields, split_properties

log = get_logger("gateway.amqp")


DEAD_LETTER_TIMEOUT = 30.0
"""Seconds for a letter: one that cannot be published must not hold up its worker for ever."""


class DeadLetterPublisher:
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

        properties = split_properties(delivery.properties)
        properties.pop(USER_ID, None)
        keep_fields(properties, lambda name: name not in ROUTING_HEADERS)
        properties.setdefault(MESSAGE_ID, short_string(uuid4().hex.encode()))
        publication = Publication(
            self._publisher,
            self._routing_key,
            join(properties),
            delivery.body,
            properties[MESSAGE_ID][1:],
            True,  # a letter that no queue takes would be lost
            _part,
            arrive,
        )
        self._publisher.publish(publication)
        try:
            with fail_after(DEAD_LETTER_TIMEOUT):
                await arrived.wait()
        except TimeoutError:
            parts.append(OutcomeUnknown(f"not confirmed within {DEAD_LETTER_TIMEOUT:g} s"))
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
    why = publication.reason
    return NotConfirmed(f"the broker refused the dead letter{why and ': '}{why}")
