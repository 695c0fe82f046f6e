"""``backend/amqp/consumer``: one message of a queue is the response of a backend."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from anyio import move_on_after
from msgspec import Struct

from ...config.structs import Backend, Endpoint
from ...core.component import Assembly, Component
from ...core.failures import name_of
from ...core.large import LargeReading
from ...core.outcomes import MessageOutcomes
from ...core.proxy import COMPLETE, INCOMPLETE, Arrive, Branch, Part, Request, Response
from ...encoding import DecodeError, Document, reason_of
from ...encoding.manipulation import Reading, build_reading
from ...errors import AmqpFailure, BrokerUnavailable, GatewayError, QueueEmpty, Undecodable
from ...telemetry.logs import get_logger
from ..advice import ON_BROKERS, ON_CONSUMERS
from ..connection.link import Link
from ..connection.shared_link import share_link
from ..declarations import overall
from ..hosts import host_findings
from ..settings import CONSUMER, ConsumerSettings, redelivery_limit
from ..spans import with_receive_spans
from ..verify import verify_consumer
from ..wire.properties import CONTENT_ENCODING, CONTENT_TYPE, split_properties
from .delivery import Delivery
from .findings import findings
from .subscription import Subscription, subscription_key

log = get_logger("gateway.amqp")

FORWARDED_PROPERTIES = ((b"content-type", CONTENT_TYPE), (b"content-encoding", CONTENT_ENCODING))
"""Headers of a ``no-op`` response, and the properties of the message that they come from."""


def build_consumer(
    settings: ConsumerSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Branch:
    """The branch that responds with a message. It does not use the body of the request."""
    if settings.exclusive and assembly.worker:
        return Branch(_consumed_elsewhere, reads_body=False)
    subscription = _subscribe(settings, backend, endpoint, assembly)
    read = large = None
    kind = Consumer
    if endpoint.output_encoding != "no-op":
        read = build_reading(backend)
        if backend.encoding == "no-op":
            kind = PropagatedConsumer
        else:
            large = LargeReading(backend, assembly)
    max_now_bytes = assembly.max_inline_bytes(backend) if large is None else large.most
    consumer = kind(subscription, settings, read, large, max_now_bytes)
    waits = settings.wait is not None
    branch = Branch(
        consumer.ask if waits else None,
        consumer.now,
        None if waits else consumer.later,
        consumer.timed_out,
        reads_body=False,
    )
    return with_receive_spans(branch, settings, backend.host[0], assembly.tracer)


class Consumer:
    """Takes a message for each request. The request holds it until it ends.

    ``read``: decodes a body; None for ``no-op``, where it is passed on unchanged. ``large``:
    decodes a large body in a helper process; None: no body is large. ``max_now_bytes``: bytes of
    the largest body that :meth:`now` responds with.
    """

    def __init__(
        self,
        subscription: Subscription,
        settings: ConsumerSettings,
        read: Reading | None,
        large: LargeReading | None,
        max_now_bytes: int,
    ) -> None:
        self.subscription = subscription
        self._settings = settings
        self._is_auto_ack = settings.auto_ack
        self._wait = settings.wait
        self._nack_discard = settings.nack_discard
        self._max_redeliveries = redelivery_limit(settings.max_redeliveries, settings.arguments)
        self._on_empty = settings.on_empty.status
        self._read = read
        self._large = large
        self.max_inline_bytes = sys.maxsize if large is None else large.most
        self._max_now_bytes = max_now_bytes
        self._ready = subscription.buffer.ready
        self._take_nowait = subscription.buffer.take_nowait

    def now(self, request: Request) -> Response | None:
        """The response, if a message is buffered that can be decoded at once."""
        ready = self._ready
        if ready and len(ready[0].body) <= self._max_now_bytes:
            delivery = self._take_nowait()
            if delivery is not None:
                return self.respond(request, delivery)
        return None

    async def ask(self, request: Request) -> Response:
        """Wait for a message, at most ``wait`` seconds; 0: the buffer, then one Basic.Get."""
        delivery = self._take_nowait()
        if delivery is None and not self._wait:
            delivery = await self.subscription.fetch()
        elif delivery is None:
            with move_on_after(self._wait):
                delivery = await self.subscription.take()
        if delivery is None:
            raise self.no_message_error(request)
        return await self._respond(request, delivery)

    def later(self, request: Request, arrive: Arrive) -> WaitingRequest:
        """Wait for a message without a task."""
        waiting = WaitingRequest(self, request, arrive)
        self.subscription.wait(waiting)
        return waiting

    def timed_out(self, request: Request) -> AmqpFailure:
        return self.no_message_error(request)

    def no_message_error(self, request: Request) -> AmqpFailure:
        """The failure when no message came in time."""
        problem = self.subscription.why_no_message(self._settings)
        if problem:
            return BrokerUnavailable(problem, self.subscription.why_away)
        if isinstance(request.taken, MessageOutcomes):
            request.taken.found_empty = True
        return QueueEmpty(status=self._on_empty)

    def respond(self, request: Request, delivery: Delivery) -> Response:
        """Make the response from a message."""
        request.taken.append(delivery)
        if self._is_auto_ack:
            delivery.acknowledge()
        read = self._read
        try:
            if read is None:
                return _respond_as_is(delivery)
            data = read(delivery.body)
        except Exception as error:  # whatever a decoder raises, the message is undecodable
            raise self.undecodable(delivery, error) from error
        return Response(data, INCOMPLETE if data is None else COMPLETE, (delivery,))

    async def _respond(self, request: Request, delivery: Delivery) -> Response:
        """As :meth:`respond`, for a message of any size."""
        if self._large is None or len(delivery.body) <= self.max_inline_bytes:
            return self.respond(request, delivery)
        self._taken(request, delivery)
        try:
            data = await self._large.read(delivery.body)
        except Exception as error:
            raise self.undecodable(delivery, error) from error
        except BaseException:  # cancelled, by the deadline or because the client has gone
            if not request.client.is_gone:
                delivery.park()
            raise
        return Response(data, INCOMPLETE if data is None else COMPLETE, (delivery,))

    def respond_later(
        self, request: Request, delivery: Delivery, arrive: Arrive
    ) -> Callable[[], None]:
        """As :meth:`respond`, without waiting, for a large message. Returns a function that stops
        the decoding."""
        assert self._large is not None
        self._taken(request, delivery)

        def arrived(data: Document | Exception | None) -> None:
            if isinstance(data, Exception):
                arrive(self.undecodable(delivery, data))
            else:
                arrive(Response(data, INCOMPLETE if data is None else COMPLETE, (delivery,)))

        return self._large.start(delivery.body, arrived)

    def undecodable(self, delivery: Delivery, error: Exception) -> Undecodable:
        """Reject or park a message that cannot be decoded. Returns the failure of the request."""
        if self._nack_discard or 0 < self._max_redeliveries <= delivery.tries:
            delivery.reject()
        else:
            delivery.park()
        return Undecodable(reason_of(error), delivery)

    def _taken(self, request: Request, delivery: Delivery) -> None:
        request.taken.append(delivery)
        if self._is_auto_ack:
            delivery.acknowledge()


class WaitingRequest(Struct, eq=False):
    """A request that waits for a message of a queue; a Waiter of the buffer.

    It is also the function that withdraws the request: a call ends the waiting and returns the
    failure of the request. ``decoding``: a large message that a helper process decodes, and the
    function that stops it.
    """

    consumer: Consumer
    request: Request
    arrive: Arrive
    decoding: tuple[Delivery, Callable[[], None]] | None = None

    def take(self, delivery: Delivery) -> None:
        """As a Waiter."""
        consumer = self.consumer
        try:
            if len(delivery.body) > consumer.max_inline_bytes:
                end = consumer.respond_later(self.request, delivery, self._read)
                self.decoding = (delivery, end)
                return
            part: Part = consumer.respond(self.request, delivery)
        except GatewayError as error:
            part = error
        except Exception:  # runs in a callback of the connection: other messages must go on
            log.exception("unexpected error in the response with a message")
            delivery.park()
            part = GatewayError("internal error")
        self.arrive(part)

    def _read(self, part: Part) -> None:
        self.decoding = None
        self.arrive(part)

    def __call__(self) -> GatewayError | None:
        if self.decoding is not None:
            (delivery, end), self.decoding = self.decoding, None
            end()
            if self.request.client.is_gone:
                return None
            return self.consumer.undecodable(delivery, DecodeError("not decoded in time"))
        was_waiting = self.consumer.subscription.withdraw(self)
        return self.consumer.no_message_error(self.request) if was_waiting else None


def share_consume_link(hosts: Sequence[str], assembly: Assembly) -> Link:
    """The link to these hosts that all consumers share."""
    return share_link("consume", hosts, assembly, lambda urls: Link(urls, "consume", assembly.side))


def _subscribe(
    settings: ConsumerSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Subscription:
    link = share_consume_link(backend.host, assembly)
    gateway = assembly.service.gateway
    return link.shared(
        subscription_key(settings),
        lambda: Subscription(
            settings, link, assembly.side, gateway.buffer_bytes, share=assembly.workers
        ),
    ).share_with(settings, name_of(endpoint))


class PropagatedConsumer(Consumer):
    """``no-op`` backend of an endpoint with another output encoding: the response contains nothing
    of the message, but a later backend of a sequence can use it."""

    def respond(self, request: Request, delivery: Delivery) -> Response:
        response = super().respond(request, delivery)
        response.body = delivery.body
        return response


async def _consumed_elsewhere(request: Request) -> Response:
    raise BrokerUnavailable("the queue is exclusive: only the first worker consumes it")


def _respond_as_is(delivery: Delivery) -> Response:
    """``no-op``: the body unchanged, with its content type."""
    properties = split_properties(delivery.properties)
    headers = [
        (name, value[1:])
        for name, flag in FORWARDED_PROPERTIES
        if (value := properties.get(flag, b"")) not in (b"", b"\0")
    ]
    return Response(None, COMPLETE, (delivery,), body=delivery.body, headers=headers)


COMPONENT = Component(
    CONSUMER,
    ConsumerSettings,
    aliases=("github.com/devopsfaith/krakend-amqp/consume",),
    verify=verify_consumer,
    backend=build_consumer,
    findings=findings,
    advice=(*ON_BROKERS, *ON_CONSUMERS),
    overall=overall,
    host_findings=host_findings,
)
