"""The unconfirmed messages of one exchange, written on a channel in confirm mode.

A message waits here until it can be written. Then it is in flight: written and unconfirmed, until
the broker sends Basic.Ack or Basic.Nack. A Basic.Return before the Basic.Ack means that the message
was routed to no queue. This object outlives its AMQP channels: it has one most of the time. All of
it runs on the asyncio side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeAlias

from ...telemetry.logs import get_logger
from ..connection.link import BrokerConnection
from ..connection.tap import Tap
from ..wire import codec
from ..wire.frame import CONTENT_PREFIX_BYTES, FRAME_OVERHEAD
from ..wire.properties import MESSAGE_ID, split_properties
from .publication import Outcome, Publication, Window

log = get_logger("gateway.amqp")

HEADER_FRAME_OVERHEAD = FRAME_OVERHEAD + CONTENT_PREFIX_BYTES
"""Bytes of the content header's frame in addition to the properties."""

MAX_METHODS = 1000
"""Encoded frames of Basic.Publish in the cache, one for each routing key."""

Settle: TypeAlias = Callable[[Publication, Outcome], None]


class ConfirmChannel:
    """Messages wait, in order, while there is no channel, while the broker blocks publishers, while
    the buffer of the socket is full, and while too many messages are unconfirmed.

    ``waiting``: messages that are not written. ``in_flight``: written and unconfirmed messages, by
    tag. ``tap``: the connection that is written to, None while there is no channel. ``closing``:
    why the broker has closed the channel. ``has_rejected``: set when the broker has rejected a
    message (Basic.Nack) on this channel. ``has_confirmed``: it has acknowledged a message there.
    ``returned_count``: all messages until now that were routed to no queue. ``rejected_count``:
    those that the broker has rejected.
    ``wake_up`` is called when a message begins to wait and there is no channel.
    """

    def __init__(
        self, exchange: bytes, window: Window, settle: Settle, wake_up: Callable[[], None]
    ) -> None:
        self.waiting: dict[Publication, None] = {}
        self.in_flight: dict[int, Publication] = {}
        self.tap: Tap | None = None
        self.closing: codec.ChannelClose | None = None
        self.has_rejected = asyncio.Event()
        self.has_confirmed = False
        self.returned_count = self.rejected_count = 0
        self._decided_before = 0
        self._exchange = exchange
        self._window = window
        self._settle_with = settle
        self._wake_up = wake_up
        self._channel = 0
        self._frame_max = 0
        self._tag = 0
        self._mandatory: dict[bytes, Publication] = {}
        self._returned: set[Publication] = set()
        self._methods: dict[tuple[bytes, bool], bytes] = {}

    def accept(self, publication: Publication) -> None:
        """Write it now, or as soon as it can be written."""
        if self.waiting or not self._write(publication):
            self.waiting[publication] = None
            if self.tap is None:
                self._wake_up()

    def put_first(self, publications: Iterable[Publication]) -> None:
        """Write these, in their order, before the messages that wait already."""
        again = {each: None for each in publications if not each.is_over}
        self.waiting = {**again, **self.waiting}
        self._write_waiting()

    def open(self, channel: int, connection: BrokerConnection) -> None:
        """Write on this channel from now on. It is in confirm mode already."""
        self._channel, self._frame_max = channel, connection.frame_max
        self._tag = 0
        self._methods.clear()
        self.closing = None
        self.has_rejected.clear()
        self.has_confirmed = False
        connection.tap.receiver.confirms[channel] = self
        self.resume(connection.tap)

    @property
    def confirmed_count(self) -> int:
        """All messages until now that the broker has acknowledged, those that it returned
        included: what is written and neither in flight nor rejected. So no message is counted."""
        decided = self._decided_before + self._tag - len(self.in_flight)
        return max(0, decided - self.rejected_count)

    def resume(self, tap: Tap) -> None:
        """Write on the channel, also after :meth:`stop`."""
        self.tap = tap
        tap.can_publish_callbacks.add(self._write_waiting)
        self._write_waiting()

    def close(self) -> dict[int, Publication]:
        """The channel has ended. Returns the messages in flight, by tag, in the order of
        writing."""
        self.stop()
        in_flight, self.in_flight = self.in_flight, {}
        self._decided_before += self._tag - len(in_flight)
        self._tag = 0
        self._mandatory.clear()
        self._returned.clear()
        self._window.release(len(in_flight))
        return in_flight

    def stop(self) -> None:
        """Write nothing more; confirms still arrive."""
        tap, self.tap = self.tap, None
        if tap is not None:
            tap.can_publish_callbacks.discard(self._write_waiting)

    # Writing.

    def _write_waiting(self) -> None:
        """Write as many of the waiting messages as possible now."""
        written = []
        for publication in self.waiting:
            if self._write(publication):
                written.append(publication)
            elif not publication.is_mandatory or not self._can_write():
                break
        for publication in written:
            del self.waiting[publication]

    def _can_write(self) -> bool:
        return self.tap is not None and self.tap.can_publish

    def _write(self, publication: Publication) -> bool:
        """Write the message, or drop it when it is over. False when it has to wait."""
        tap = self.tap
        if tap is None or not tap.can_publish:
            return False
        is_mandatory = publication.is_mandatory
        if is_mandatory and publication.message_id in self._mandatory:
            return False  # Basic.Return identifies a message by its id: two could be confused
        was_written, publication.is_written = publication.is_written, True
        if publication.is_over:
            return True
        if len(publication.properties) > self._frame_max - HEADER_FRAME_OVERHEAD:
            # The broker would close the connection.
            why = f"its properties are larger than a frame of {self._frame_max} bytes"
            return self._fail(publication, why)
        try:
            frames = codec.publish_content(
                self._channel,
                self._methods.get((publication.routing_key, is_mandatory))
                or self._method(publication.routing_key, is_mandatory),
                publication.properties,
                publication.body,
                self._frame_max,
            )
        except Exception:  # fails this message only: the other messages of the channel go on
            log.exception("unexpected error while a message was written")
            return self._fail(publication, "internal error")
        if not self._window.take(self._write_waiting):
            publication.is_written = was_written
            return False
        self._tag += 1
        self.in_flight[self._tag] = publication
        if is_mandatory:
            self._mandatory[publication.message_id] = publication
        if isinstance(frames, bytes):
            tap.write(frames)
        else:
            tap.write_large(frames)
        return True

    def _fail(self, publication: Publication, reason: str) -> bool:
        """The message cannot be written. Returns what :meth:`_write` returns."""
        publication.reason = reason
        self._settle(publication, Outcome.REFUSED)
        return True

    def _method(self, routing_key: bytes, is_mandatory: bool) -> bytes:
        if len(self._methods) >= MAX_METHODS:
            self._methods.clear()
        method = codec.publish_method(self._channel, self._exchange, routing_key, is_mandatory)
        self._methods[routing_key, is_mandatory] = method
        return method

    # As a ConfirmListener: called by the tap.

    def confirmed(self, tag: int, is_multiple: bool, is_ack: bool) -> None:
        in_flight = self.in_flight
        if is_multiple:
            tags = []
            for each in in_flight:  # in the order of writing
                if each > tag:
                    break
                tags.append(each)
        else:
            tags = [tag]
        outcome = Outcome.CONFIRMED if is_ack else Outcome.REFUSED
        if is_ack:
            self.has_confirmed = True
        else:
            self.rejected_count += sum(each in in_flight for each in tags)
            self.has_rejected.set()
        settle, settled = self._settle_with, 0
        for each in tags:
            publication = in_flight.pop(each, None)
            if publication is not None:
                settled += 1
                if publication.is_mandatory:
                    self._settle(publication, outcome)
                else:
                    settle(publication, outcome)
        self._window.release(settled)
        if self.waiting:
            self._write_waiting()

    def returned(self, properties: bytes, reason: str) -> None:
        publication = self._mandatory.get(split_properties(properties).get(MESSAGE_ID, b"")[1:])
        if publication is not None:
            self._returned.add(publication)

    def processed(self) -> None:
        """Only a quarantine sends the Confirm.Select that leads to this call."""

    def closed(self, closing: codec.ChannelClose) -> None:
        """Stop: the broker closes the connection for a frame on a closed channel."""
        self.closing = closing
        self.stop()

    def _settle(self, publication: Publication, outcome: Outcome) -> None:
        if publication.is_mandatory:
            self._mandatory.pop(publication.message_id, None)
            if publication in self._returned:
                self._returned.discard(publication)
                outcome = Outcome.UNROUTABLE
                self.returned_count += 1
        self._settle_with(publication, outcome)
