"""Dead-letters the messages of an agent: publishes them as ``dead_letter`` says, and waits for the
confirm. RabbitMQ itself dead-letters a rejected message, as the arguments of its queue say.
"""

from __future__ import annotations

from uuid import uuid4

from anyio import Event, fail_after

from ...core.component import Assembly
from ...core.proxy import Part, Response
from ...errors import GatewayError, NotConfirmed, OutcomeUnknown, Unroutable
from ...telemetry.logs import get_logger
from ..consume.delivery import Delivery
from ..publish.producer import share_publisher
from ..publish.publication import Outcome, Publication
from ..settings import DeadLetter, ProducerSettings
from ..wire.message import ROUTING_HEADERS, short_string
from ..wire.properties import MESSAGE_ID, USER_ID, join, keep_fields, split_properties

log = get_logger("gateway.amqp")

DEAD_LETTER_TIMEOUT = 30.0
"""Seconds to wait for the confirm. A dead letter that cannot be published must not block its worker
for ever."""


class DeadLetterPublisher:
    """Publishes to one exchange with one routing key. The exchange must exist. ``name``: of
    the agent, for the log."""

    def __init__(self, target: DeadLetter, host: str, assembly: Assembly, name: str) -> None:
        settings = ProducerSettings(exchange=target.exchange, declare="none")
        self._publisher = share_publisher(settings, (host,), assembly, name)
        self._routing_key = target.routing_key.encode()

    async def publish(self, delivery: Delivery) -> None:
        """Publish the message and wait for the confirm. Raises :class:`GatewayError` without it."""
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
            True,  # mandatory: a dead letter that is routed to no queue would be lost
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
        return Unroutable("the dead letter was routed to no queue")
    why = publication.reason
    return NotConfirmed(f"the broker refused the dead letter{why and ': '}{why}")
