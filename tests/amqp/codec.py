"""Messages for tests: properties as a library encodes and decodes them."""

from __future__ import annotations

from typing import Any

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from gateway.amqp.buffer import Delivery


class Closed:
    """A channel that settles nothing."""

    is_open = False

    def settle(self, delivery: Delivery, seconds: float = 0) -> None:
        raise AssertionError

    acknowledge = give_back = reject = set_aside = settle


def decode_properties(header: bytes) -> Basic.Properties:
    content = ContentHeader()
    content.unmarshal(header)
    return content.properties


def encode_header(body_size: int = 0, **properties: Any) -> bytes:
    """The payload of a content header frame."""
    header: bytes = ContentHeader(0, body_size, Basic.Properties(**properties)).marshal()
    return header
