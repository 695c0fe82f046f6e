"""``telemetry/gelf``: the log goes to a GELF server such as Graylog, by UDP or TCP.

GELF 1.1. A datagram is compressed, and divided into chunks when it is large. Names are resolved and
connections opened in the thread that writes the log.
"""

from __future__ import annotations

import logging
import os
import socket
import zlib
from collections.abc import Iterator
from logging.handlers import DatagramHandler, SocketHandler

import msgspec
from msgspec import Struct

from ...config.findings import Finding
from ...core.component import Component, Place
from .json_lines import fields_of
from .logging_settings import warn_without_logging
from .losses import Losses
from .patterns import message_of

MAX_CHUNK_BYTES = 1420
"""Of a datagram, so that it fits into an Ethernet frame."""
CHUNK_HEADER_BYTES = 12
MAX_TEXT = 40_000
"""Characters of a message, so that at most 128 chunks are needed, which is GELF's limit."""

LEVELS = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
"""Severities of syslog (RFC 5424). KrakenD sends 6 for every line."""

_encode = msgspec.json.Encoder().encode


class GelfSettings(Struct, frozen=True, kw_only=True):
    address: str
    """The server: host and port."""
    enable_tcp: bool = False
    """Whether lines are sent by TCP instead of UDP."""


def encode_record(record: logging.LogRecord, host: str) -> bytes:
    """A record as GELF. ``host``: the machine that it comes from."""
    text = message_of(record)[:MAX_TEXT]
    short = text.partition("\n")[0]
    line: dict[str, object] = {f"_{name}": value for name, value in fields_of(record).items()}
    line |= {
        "version": "1.1",
        "host": host,
        "short_message": short,
        "timestamp": record.created,
        "level": LEVELS.get(record.levelno, 6),
        "_logger": record.name,
    }
    if short != text:
        line["full_message"] = text
    return _encode(line)


def chunks(data: bytes) -> Iterator[bytes]:
    """The datagrams of a message."""
    if len(data) <= MAX_CHUNK_BYTES:
        yield data
        return
    size = MAX_CHUNK_BYTES - CHUNK_HEADER_BYTES
    number = -(-len(data) // size)
    message_id = os.urandom(8)
    for index in range(number):
        header = b"\x1e\x0f" + message_id + bytes((index, number))
        yield header + data[index * size : (index + 1) * size]


class GelfHandler(SocketHandler):
    """Sends each record over one TCP connection, which is opened again after an error. Lines are
    lost meanwhile."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self._machine = socket.gethostname()
        self._losses = Losses(f"telemetry/gelf: {host}:{port}")

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(encode_record(record, self._machine))
        except Exception:  # also for names that are none
            self._close_socket()
        self._losses.note(is_lost=self.sock is None)

    def _send(self, message: bytes) -> None:
        self.send(message + b"\0")

    def _close_socket(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None


class GelfUdpHandler(GelfHandler, DatagramHandler):
    """Sends each record as one datagram, or as several chunks. A server that is away is not
    noticed."""

    def makeSocket(self, timeout: float = 1) -> socket.socket:  # noqa: N802
        """Also for IPv6."""
        kind = socket.SOCK_DGRAM
        family, _, _, _, address = socket.getaddrinfo(self.host, self.port, type=kind)[0]
        self.address = str(address[0]), int(address[1])
        return socket.socket(family, kind)

    def _send(self, message: bytes) -> None:
        for datagram in chunks(zlib.compress(message)):
            self.send(datagram)


def build_gelf_handler(settings: GelfSettings) -> logging.Handler:
    """Raises ValueError for an address without a port."""
    host, port = split_address(settings.address)
    return (GelfHandler if settings.enable_tcp else GelfUdpHandler)(host, port)


def split_address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f'expected host and port, such as "graylog:12201", found "{address}"')
    host = host.strip("[]")
    host.encode("idna")  # UnicodeError is a ValueError
    return host, int(port)


def verify_gelf(settings: GelfSettings) -> Iterator[tuple[str, str]]:
    try:
        split_address(settings.address)
    except ValueError as error:
        yield "address", str(error)


def findings(settings: GelfSettings, place: Place) -> Iterator[Finding]:
    return warn_without_logging(place)


COMPONENT = Component(
    "telemetry/gelf",
    GelfSettings,
    aliases=("github_com/devopsfaith/krakend-gelf",),
    service=True,
    verify=verify_gelf,
    findings=findings,
)
