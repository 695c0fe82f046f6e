"""``async/amqp``: takes the messages of a queue for an agent, and settles them.

The requests that are made of them have no client; ``app/agent.py`` sends them to the backends.
"""

from __future__ import annotations

from functools import partial
from itertools import islice

from anyio import to_thread

from ...config.structs import Agent
from ...core.backoff import BACKOFFS, MAX_PAUSE
from ...core.component import Assembly, Component
from ...core.proxy import Pipe, Request
from ...errors import GatewayError, Undecodable
from ...telemetry.propagation import Incoming
from ...telemetry.tracing import Tracer
from ..consume.consumer import share_consume_link
from ..consume.delivery import Delivery
from ..consume.subscription import Subscription, subscription_key
from ..settings import AGENT, AgentSettings, ConsumerSettings, Retry, redelivery_limit
from ..spans import with_process_spans
from ..verify import verify_agent
from ..wire.properties import MalformedError
from .dead_letters import DeadLetterPublisher
from .findings import findings
from .requests import build_request, tries_of


def build_source(settings: AgentSettings, agent: Agent, assembly: Assembly) -> AmqpSource:
    """The source of the messages of an agent."""
    consumer = _as_consumer(settings, agent)
    name = f"agent {agent.name}"
    link = share_consume_link((settings.host,), assembly)
    gateway = assembly.service.gateway
    subscription = link.shared(
        ("agent", agent.name, *subscription_key(consumer)),
        lambda: Subscription(
            consumer, link, assembly.side, gateway.buffer_bytes, is_permanent=True
        ),
    ).share_with(consumer, name)
    dead_letters = None
    if settings.dead_letter is not None:
        dead_letters = DeadLetterPublisher(settings.dead_letter, settings.host, assembly, name)
    return AmqpSource(settings, agent, subscription, dead_letters, assembly)


def _as_consumer(settings: AgentSettings, agent: Agent) -> ConsumerSettings:
    return ConsumerSettings(
        name=settings.name,
        exchange=settings.exchange,
        routing_key=(agent.consumer.topic,),
        durable=settings.durable,
        delete=settings.delete,
        exclusive=settings.exclusive,
        no_local=settings.no_local,
        prefetch_count=settings.prefetch(agent.consumer.workers),
        auto_ack=settings.auto_ack,
        backoff_strategy=agent.connection.backoff_strategy,
        max_retries=agent.connection.max_retries,
        exchange_type=settings.exchange_type,
        arguments=settings.arguments,
        exchange_arguments=settings.exchange_arguments,
        declare=settings.declare,
        priority=settings.priority,
        consumer_tag=settings.consumer_tag,
    )


MAX_INLINE_BYTES = 4 * 1024 * 1024
"""Bytes of the largest body of which the request is made on the event loop, in at most 3 ms: the
hash of the body takes 0.7 ns a byte. A thread makes the request of a larger one."""


class AmqpSource:
    """Takes messages for an agent.

    ``is_ordered``: the order of the queue is kept. A failed message is tried again before the next
    one is taken. ``has_ids``: the requests have ids. ``tracer``: starts their traces; None: they
    have none.
    """

    def __init__(
        self,
        settings: AgentSettings,
        agent: Agent,
        subscription: Subscription,
        dead_letters: DeadLetterPublisher | None,
        assembly: Assembly,
    ) -> None:
        self.settings = settings
        self.max_redeliveries = redelivery_limit(settings.max_redeliveries, settings.arguments)
        self.dead_letters = dead_letters
        self.is_ordered = agent.consumer.workers == 1
        self.has_ids = assembly.service.gateway.request_id
        self.tracer = assembly.tracer
        self._topic = agent.consumer.topic
        self._is_skipped = self.tracer is not None and self.tracer.skips(f"/{agent.name}")
        self._subscription = subscription

    @property
    def is_attached(self) -> bool:
        return self._subscription.is_attached

    @property
    def problem(self) -> str:
        return self._subscription.problem

    async def take(self) -> AmqpJob:
        """Wait for the next message."""
        subscription = self._subscription
        delivery = subscription.buffer.take_nowait() or await subscription.take()
        if subscription.settings.auto_ack:
            delivery.acknowledge()
        return AmqpJob(self, delivery)

    def observed(self, pipe: Pipe) -> Pipe:
        tracer = None if self._is_skipped else self.tracer
        return with_process_spans(pipe, self.settings, self._topic, tracer)

    def start_trace(self, request: Request, tracer: Tracer) -> None:
        """Continue the trace of the message, or begin one."""
        incoming: Incoming = request.origin.incoming
        if self._is_skipped:
            request.trace = tracer.passed_on(incoming)
            return
        if tracer.records and self.settings.propagation == "link":
            incoming = incoming._replace(parent=None)
        request.trace = tracer.start(incoming)


class AmqpJob:
    """A message of an agent, until it is settled."""

    def __init__(self, source: AmqpSource, delivery: Delivery) -> None:
        self._source = source
        self._delivery = delivery

    async def request(self) -> Request:
        """Make the request of the message."""
        source, delivery = self._source, self._delivery
        settings, tracer = source.settings, source.tracer
        build = partial(
            build_request,
            settings.name,
            delivery,
            settings.headers,
            has_id=source.has_ids,
            propagation=None if tracer is None else tracer.propagation,
        )
        try:
            if len(delivery.body) <= MAX_INLINE_BYTES:
                request = build()
            else:
                request = await to_thread.run_sync(build)
        except MalformedError as error:
            raise Undecodable(str(error)) from error
        if tracer is not None:
            source.start_trace(request, tracer)
        return request

    def done(self) -> None:
        """Its backends have succeeded: acknowledge the message."""
        self._delivery.acknowledge()

    def give_back(self) -> None:
        """It will not be tried: return it to the queue, unless it is settled."""
        self._delivery.give_back()

    def park(self) -> None:
        """It is tried again after a backoff, unless it is settled."""
        self._delivery.park()

    @property
    def is_over(self) -> bool:
        """It is settled, or its channel has ended and the broker will deliver it again."""
        return not (self._delivery.is_held and self._delivery.channel.is_open)

    async def failed(self) -> float | None:
        """A try has failed: dead-letter or reject the message, or try it again after a backoff.

        Returns the seconds after which the caller must try this message again. None: it is given
        up, or it comes again as a new job.
        """
        delivery, settings = self._delivery, self._source.settings
        if self.is_over:
            return None
        if settings.nack_discard or 0 < self._source.max_redeliveries <= tries_of(delivery):
            await self._give_up()
            return None
        seconds = _pause(settings.retry, delivery.tries)
        if not self._source.is_ordered:
            delivery.park(seconds)
            return None
        delivery.tries += 1
        return seconds

    async def _give_up(self) -> None:
        dead_letters = self._source.dead_letters
        if dead_letters is None:
            self._delivery.reject()
            return
        try:
            await dead_letters.publish(self._delivery)
        except (GatewayError, MalformedError):
            self._delivery.park()
        else:
            self._delivery.acknowledge()


def _pause(retry: Retry, tries: int) -> float:
    """Seconds before the next try. ``tries``: number of earlier failed tries."""
    pauses = BACKOFFS.get(retry.backoff, BACKOFFS["fallback"])()
    return min(retry.delay * next(islice(pauses, tries, None)), max(MAX_PAUSE, retry.delay))


COMPONENT = Component(
    AGENT,
    AgentSettings,
    aliases=("github.com/devopsfaith/krakend-amqp/agent",),
    verify=verify_agent,
    agent=build_source,
    findings=findings,
)
