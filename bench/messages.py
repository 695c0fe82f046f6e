"""Numbered JSON messages: the number identifies a message in a queue, a request or a response."""

from __future__ import annotations

import re
from collections.abc import Iterable

NUMBER = re.compile(rb'"id_\d+":\s?(\d+)')
SMALL = 130
"""Bytes of a message where the scenario does not say more."""

SERIES = 1_000_000_000
"""Numbers of queue ``n`` begin at ``(n + 1) * SERIES``: each number occurs once in a run."""

PUBLISHED = 900 * SERIES
"""Numbers of published messages begin here; all have the same number of digits."""

_SLOT = b"%d" % PUBLISHED


def first_number(queue: int) -> int:
    return (queue + 1) * SERIES


def message(queue: int, number: int, size: int = SMALL) -> bytes:
    """A JSON document of about ``size`` bytes, at least 130. Each queue has its own keys."""
    body = (
        b'{"id_%d":%d,"name_%d":"widget","price_%d":12.5,"tags_%d":["a","b","c"],'
        b'"customer_%d":{"id":77,"name":"Jane Doe","mail":"jane@example.com"}}'
        % (queue, number, queue, queue, queue, queue)
    )
    padding = size - len(body) - len(b',"text":""')
    return body if padding < 0 else b'%b,"text":"%b"}' % (body[:-1], b"x" * padding)


def template(size: int = SMALL) -> tuple[bytes, bytes]:
    """The bytes before and after the number of a message to publish (:data:`PUBLISHED`)."""
    before, after = message(0, PUBLISHED, size).split(_SLOT)
    return before, after


def numbers_in(bodies: Iterable[bytes]) -> list[int]:
    """Every number in ``bodies``, in order."""
    return [int(number) for body in bodies for number in NUMBER.findall(body)]
