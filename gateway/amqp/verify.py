"""What decoding does not see in settings of AMQP and RabbitMQ refuses. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..config.suggest import unknown
from .settings import EXCHANGE_TYPES, AgentSettings, ConsumerSettings, ProducerSettings


def verify_amqp(
    settings: ConsumerSettings | ProducerSettings | AgentSettings,
) -> Iterator[tuple[str, str]]:
    kind = settings.exchange_type
    if kind not in EXCHANGE_TYPES and not kind.startswith("x-"):
        yield "exchange_type", f'{unknown(kind, EXCHANGE_TYPES)}, and plugins\' ("x-...")'
