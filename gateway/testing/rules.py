"""What the versions of RabbitMQ do differently, and how a broker refuses something. Pure."""

from __future__ import annotations

from msgspec import Struct


class BrokerRules(Struct, frozen=True):
    """The behaviour of one version of RabbitMQ.

    ``default_delivery_limit``: of quorum queues; None: no limit. ``counts_nacks``: a message that
    Basic.Nack returns to a quorum queue counts as returned. ``returns_to_front``: messages that are
    returned to a quorum queue are delivered first; false: last. ``counts_from_zero``: the first
    delivery from a quorum queue has ``x-delivery-count`` 0; false: no such header.
    ``unknown_type_ends_connection``: an unknown type of exchange ends the connection (503), not
    only the channel (406). ``refuses_transient_queues``: a queue that is neither durable nor
    exclusive ends the connection (541). ``max_message_size``: bytes. ``frame_max``: bytes of the
    largest frame.
    """

    version: str
    default_delivery_limit: int | None = 20
    counts_nacks: bool = True
    returns_to_front: bool = True
    counts_from_zero: bool = False
    unknown_type_ends_connection: bool = False
    refuses_transient_queues: bool = False
    max_message_size: int = 16 * 1024 * 1024
    frame_max: int = 131_072


RABBITMQ_3_10 = BrokerRules(
    "3.10.8",
    default_delivery_limit=None,
    returns_to_front=False,
    counts_from_zero=True,
    unknown_type_ends_connection=True,
    max_message_size=128 * 1024 * 1024,
)
RABBITMQ_4_0 = BrokerRules("4.0.5")
RABBITMQ_4_3 = BrokerRules("4.3.0", counts_nacks=False, refuses_transient_queues=True)

BY_VERSION = {"3.10": RABBITMQ_3_10, "4.0": RABBITMQ_4_0, "4.3": RABBITMQ_4_3}

ERROR_NAMES = {
    311: "CONTENT_TOO_LARGE",
    320: "CONNECTION_FORCED",
    403: "ACCESS_REFUSED",
    404: "NOT_FOUND",
    405: "RESOURCE_LOCKED",
    406: "PRECONDITION_FAILED",
    501: "FRAME_ERROR",
    503: "COMMAND_INVALID",
    504: "CHANNEL_ERROR",
    505: "UNEXPECTED_FRAME",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
    541: "INTERNAL_ERROR",
}

FIRST_CONNECTION_ERROR = 500
"""Reply codes from here on end the connection. Lower ones end the channel."""


class BrokerRefusal(Exception):
    """The broker ends a channel or a connection. The text begins with the name of the code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.text = f"{ERROR_NAMES[code]} - {reason}"

    @property
    def ends_connection(self) -> bool:
        return self.code >= FIRST_CONNECTION_ERROR
