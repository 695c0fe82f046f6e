"""Translates the broker URLs of KrakenD files for aiormq. Pure.

KrakenD passes the URL to amqp091-go. Its options differ from those of aiormq, which ignores unknown
options.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from msgspec import Struct
from yarl import URL

from ...errors import GatewayError
from ..wire.message import MAX_SHORT_STRING_BYTES

DEFAULT_HEARTBEAT = 10
DEFAULT_CONNECT_TIMEOUT = 30.0  # amqp091-go, connection.go
MAX_16_BIT = 65_535
"""The largest heartbeat and ``channel_max``: they are 16-bit numbers of AMQP."""

MAX_MILLISECONDS = 2**31 - 1
_DIGITS = re.compile(r"[0-9]{1,10}")
PORTS = {"amqp": 5672, "amqps": 5671}


class BrokerUrl(Struct, frozen=True):
    """The address of a broker. It prints as :attr:`name`, without credentials.

    ``connect_timeout``: seconds. ``heartbeat``: seconds, 0: no heartbeats. ``server_name``: name in
    the broker's certificate; None: the host. ``channel_max``: 0: the broker's bound.
    """

    aiormq: URL
    vhost: str
    connect_timeout: float
    heartbeat: int
    server_name: str | None
    channel_max: int

    @property
    def name(self) -> str:
        """``amqp://host:port/vhost``: safe to log."""
        vhost = self.vhost if self.vhost.startswith("/") else f"/{self.vhost}"
        return f"{self.aiormq.scheme}://{self.aiormq.host}:{self.aiormq.port}{vhost}"

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


def parse_broker_url(text: str) -> BrokerUrl:
    """Raises :class:`GatewayError`, without the URL in its text, when the URL cannot be used."""
    try:
        url = URL(text)
        scheme, host, port, query = url.scheme, url.host, url.explicit_port, url.query
    except ValueError as error:
        raise GatewayError(
            "not a URL of a broker: expected amqp://user:password@host:port/vhost, "
            "with a port from 1 to 65535"
        ) from error
    if scheme not in PORTS:
        raise GatewayError('a broker URL must begin with "amqp://" or "amqps://"')
    if port == 0:
        raise GatewayError("expected a port from 1 to 65535, found 0")
    heartbeat = _whole_number(query.get("heartbeat"), "heartbeat", DEFAULT_HEARTBEAT)
    milliseconds = _whole_number(
        query.get("connection_timeout"), "connection_timeout", 0, MAX_MILLISECONDS
    )
    options = {
        "heartbeat": str(heartbeat),
        "name": "hutch-gateway",
        "cafile": query.get("cacertfile"),
        "certfile": query.get("certfile"),
        "keyfile": query.get("keyfile"),
    }
    return BrokerUrl(
        aiormq=URL.build(
            scheme=scheme,
            user=url.user if url.user is not None else "guest",
            password=url.password if url.password is not None else "guest",
            host=host or "localhost",
            port=port or PORTS[scheme],
            query={name: value for name, value in options.items() if value is not None},
        ),
        vhost=_vhost(url),
        connect_timeout=milliseconds / 1000 or DEFAULT_CONNECT_TIMEOUT,
        heartbeat=heartbeat,
        server_name=query.get("server_name_indication"),
        channel_max=_whole_number(query.get("channel_max"), "channel_max", 0),
    )


def _vhost(url: URL) -> str:
    # As in amqp091-go: no path and "/" mean the virtual host "/"; "%2F" is decoded.
    vhost = unquote(url.raw_path.removeprefix("/")) or "/"
    if (size := len(vhost.encode(errors="replace"))) > MAX_SHORT_STRING_BYTES:
        raise GatewayError(
            f"expected a virtual host of at most {MAX_SHORT_STRING_BYTES} bytes, found {size}"
        )
    return vhost


def _whole_number(text: str | None, name: str, default: int, largest: int = MAX_16_BIT) -> int:
    if text is None:
        return default
    if not _DIGITS.fullmatch(text) or int(text) > largest:
        raise GatewayError(
            f'expected a whole number from 0 to {largest} for the URL option "{name}"'
        )
    return int(text)
