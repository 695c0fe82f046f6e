"""What a message carries beside its body: properties, exchange, routing key. Pure."""

from __future__ import annotations

from pamqp.commands import Basic
from pamqp.header import ContentHeader


def decode_properties(header: bytes) -> Basic.Properties:
    """``header``: the payload of a content header frame (AMQP 0-9-1, section 2.3.5.2)."""
    content = ContentHeader()
    content.unmarshal(header)
    return content.properties


def decode_route(route: bytes) -> tuple[str, str]:
    """Exchange and routing key from their two short strings on the wire."""
    split = 1 + route[0]
    return route[1:split].decode(errors="replace"), route[split + 1 :].decode(errors="replace")
