"""The parts of a frame of AMQP 0-9-1 (section 2.3): constants only."""

METHOD, HEADER, BODY = 1, 2, 3
"""Types of frames."""

FRAME_END = 0xCE
"""The last byte of every frame."""

FRAME_OVERHEAD = 8
"""Bytes of a frame in addition to its payload: type, channel and size before it, the end byte after
it."""

CONTENT_PREFIX_BYTES = 12
"""Bytes of a content header before its properties: class, weight, body size."""
