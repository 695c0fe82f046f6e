"""Messages for tests: properties as a library encodes and decodes them."""

from __future__ import annotations

from typing import Any

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from gateway.amqp.consume.delivery import Delivery
from gateway.amqp.wire.frame import CONTENT_PREFIX_BYTES


class Closed:
    """A channel that settles nothing."""

    is_open = False
    unsent = max_unsent = 0

    def settle(self, delivery: Delivery, seconds: float = 0) -> None:
        raise AssertionError

    sent = acknowledge = give_back = reject = park = settle


def decode_properties(encoded: bytes) -> Basic.Properties:
    """``encoded``: flags and values."""
    content = ContentHeader()
    content.unmarshal(b"\x00\x3c" + bytes(CONTENT_PREFIX_BYTES - 2) + encoded)
    return content.properties


def encode_known(**properties: Any) -> bytes:
    """Flags and values."""
    header: bytes = ContentHeader(0, 0, Basic.Properties(**properties)).marshal()
    return header[CONTENT_PREFIX_BYTES:]
