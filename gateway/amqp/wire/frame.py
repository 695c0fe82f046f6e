"""What a frame of AMQP 0-9-1 consists of (2.3)."""

METHOD, HEADER, BODY = 1, 2, 3
"""Types."""

FRAME_END = 0xCE
FRAME_OVERHEAD = 8
"""Type, channel and size before the payload, the end octet behind it."""

CONTENT_HEAD = 12
"""Bytes of a content header before its properties: class, weight, body size."""
