"""What parts of the gateway are at the moment: links, queues, producers and agents, in numbers and
words. The page shows them. Nothing here knows the page.

``is_ready``: as in ``/__ready``. Counters only grow. Times are Unix times in seconds. None: not
known, or there is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import add
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

LinkStatus: TypeAlias = Literal["up", "blocked", "idle", "down"]
QueueStatus: TypeAlias = Literal["attached", "idle", "down"]
ProducerStatus: TypeAlias = Literal["ready", "blocked", "down"]
AgentStatus: TypeAlias = Literal["attached", "stopping", "down"]


class LinkPart(Struct, frozen=True, kw_only=True, tag="link"):
    """A connection to a broker, for one role: "consume" or "publish".

    ``broker``: ``amqp://host:port/vhost`` of the first host, without a login. ``status``: "blocked"
    is up, and the broker takes no messages (memory or disk alarm); "idle": ``max_retries`` attempts
    have failed, and the next request starts new ones. ``host``: of the node, as ``broker``.
    ``node``: product and version of the node. ``reconnects``: connections after the first one.
    ``since``: when it was connected, or lost. ``blocked_since``: when the broker has blocked it.
    ``silence``: seconds since the broker has sent anything. ``heartbeat``: seconds; 0: none.
    ``certificate_expires``: that of the broker.
    """

    broker: str
    role: str
    status: LinkStatus
    problem: str = ""
    host: str = ""
    node: str = ""
    reconnects: int = 0
    since: float | None = None
    silence: float | None = None
    blocked_since: float | None = None
    heartbeat: int = 0
    certificate_expires: float | None = None

    @property
    def is_ready(self) -> bool:
        return self.status in ("up", "blocked")


class QueuePart(Struct, frozen=True, kw_only=True, tag="queue"):
    """A subscription: what the gateway has of a queue.

    ``status``: "idle" has no consumer, because no request asks. ``buffered``: messages in the
    gateway for coming requests; ``buffered_bytes``: of their bodies. ``waiting``: requests, and
    workers of agents, that wait for a message. ``parked``: messages that wait to be tried again.
    ``acked``, ``requeued``, ``rejected``: messages until now.
    """

    broker: str
    queue: str
    status: QueueStatus
    problem: str = ""
    consumers: int = 0
    prefetch: int = 0
    buffered: int = 0
    buffered_bytes: int = 0
    waiting: int = 0
    unacked: int = 0
    parked: int = 0
    acked: int = 0
    requeued: int = 0
    rejected: int = 0

    @property
    def is_ready(self) -> bool:
        return self.status != "down" and not self.problem


class ProducerPart(Struct, frozen=True, kw_only=True, tag="producer"):
    """What the gateway publishes to an exchange.

    ``confirmed``, ``returned`` (mandatory, and routed to no queue), ``nacked``: messages until now.
    ``unconfirmed``: written messages without an answer. ``waiting``: messages that cannot be
    written yet.
    """

    broker: str
    exchange: str
    status: ProducerStatus
    problem: str = ""
    unconfirmed: int = 0
    waiting: int = 0
    confirmed: int = 0
    returned: int = 0
    nacked: int = 0

    @property
    def is_ready(self) -> bool:
        return self.status != "down"


class AgentPart(Struct, frozen=True, kw_only=True, tag="agent"):
    """An async agent. ``succeeded``, ``dead_lettered`` (or rejected): messages until now;
    ``failed``: tries until now. ``parked``: messages that wait to be tried again."""

    agent: str
    status: AgentStatus
    problem: str = ""
    workers: int = 1
    in_flight: int = 0
    succeeded: int = 0
    failed: int = 0
    parked: int = 0
    dead_lettered: int = 0
    last_message: float | None = None
    last_error: str = ""

    @property
    def is_ready(self) -> bool:
        return self.status == "attached"


class MessageCounts(NamedTuple):
    """Messages until now. ``taken``: acknowledged or rejected. ``published``: confirmed."""

    taken: int = 0
    requeued: int = 0
    published: int = 0

    def plus(self, other: MessageCounts) -> MessageCounts:
        return MessageCounts(*map(add, self, other))


StatePart: TypeAlias = LinkPart | QueuePart | ProducerPart | AgentPart


@runtime_checkable
class Described(Protocol):
    """Something with parts: a resource of the gateway may have this method."""

    def parts(self) -> Iterable[StatePart]:
        """Called on the app side. It waits for nothing, and only reads plain numbers: they may
        belong to another thread."""
        ...
