"""Whatever a broker sends, it ends its own connection, which is then opened again."""

from __future__ import annotations

import struct

import pamqp.frame
import pytest
from anyio import fail_after, sleep
from pamqp import commands

from gateway.amqp.connection.link import Link
from gateway.amqp.connection.urls import parse_broker_url
from gateway.amqp.consume.subscription import Subscription
from gateway.amqp.settings import ConsumerSettings
from gateway.core.bridge import open_asyncio_side

from .hostile import STAGES, Hostile, listening

pytestmark = pytest.mark.anyio

TAPPED = 1


def frame(kind: int, channel: int, payload: bytes, end: bytes = b"\xce") -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


def method(channel: int, number: tuple[int, int], payload: bytes = b"") -> bytes:
    return frame(1, channel, struct.pack(">HH", *number) + payload)


DELIVER = struct.pack(">HH", 60, 60) + b"\x01t" + struct.pack(">QB", 1, 0) + b"\x00\x01q"
OUT_OF_ORDER = struct.pack(">HH", 60, 60) + b"\x01t" + struct.pack(">QB", 2**60, 0) + b"\x00\x01q"
CONTENT = struct.pack(">HHQH", 60, 0, 2, 0)

ATTACKS = {
    "hangs up": b"",
    "other protocol": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + b"x" * 200,
    "zeros": b"\0" * 64,
    "frame without its end": frame(1, 0, b"\0\x0a\0\x0a", b"\0"),
    "endless frame": struct.pack(">BHI", 1, 0, 2**32 - 1) + b"x" * 100,
    "empty method": frame(1, 0, b""),
    "empty method of a channel": frame(1, TAPPED, b""),
    "unknown class": method(0, (999, 1)),
    "unknown method": method(TAPPED, (60, 999)),
    "unknown kind of frame": frame(77, 0, b"x"),
    "unknown channel": method(4711, (60, 31)),
    "text that is cut": method(0, (10, 50), struct.pack(">HB", 320, 200) + b"x"),
    "text that is no UTF-8": method(
        0, (10, 50), struct.pack(">HB", 320, 2) + b"\xc3(" + b"\0\0\0\0"
    ),
    "channel closed, text that is no UTF-8": method(
        TAPPED, (20, 40), struct.pack(">HB", 406, 2) + b"\xc3(" + b"\0\0\0\0"
    ),
    "channel closed without a text": method(TAPPED, (20, 40)),
    "connection closed without a text": method(0, (10, 50)),
    "connection closed": pamqp.frame.marshal(commands.Connection.Close(541, "no", 0, 0), 0),
    "blocked without a reason": method(0, (10, 60)),
    "table of nonsense": method(0, (10, 10), b"\0\x09" + struct.pack(">I", 9) + b"\xffxxxxxxxx"),
    "delivery that is cut": frame(1, TAPPED, DELIVER[:9]),
    "delivery with a tag out of order": frame(1, TAPPED, OUT_OF_ORDER)
    + frame(2, TAPPED, CONTENT)
    + frame(3, TAPPED, b"{}"),
    "header that is cut": frame(1, TAPPED, DELIVER) + frame(2, TAPPED, CONTENT[:5]),
    "header without a delivery": frame(2, TAPPED, CONTENT),
    "body without a header": frame(3, TAPPED, b"{}"),
    "body that is too long": frame(1, TAPPED, DELIVER)
    + frame(2, TAPPED, CONTENT)
    + frame(3, TAPPED, b"{ }"),
    "endless body": frame(1, TAPPED, DELIVER)
    + frame(2, TAPPED, struct.pack(">HHQH", 60, 0, 2**63, 0)),
    "get-ok that is cut": method(TAPPED, (60, 71)),
    "cancel that is cut": method(TAPPED, (60, 30), b"\xff"),
    "answer to nothing": pamqp.frame.marshal(commands.Queue.DeclareOk("q", 0, 0), TAPPED),
    "open again": pamqp.frame.marshal(commands.Connection.OpenOk(), 0),
    "start again": pamqp.frame.marshal(commands.Connection.Start(), 0),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_hostile_broker_ends_its_own_connection_only(
    stage: str, attack: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    peer = Hostile(stage, attack)
    wanted = ConsumerSettings(name="q")
    async with listening(peer) as url, open_asyncio_side() as side:
        link = Link((parse_broker_url(url),), "consume", side)
        subscription = link.shared(
            "q", lambda: Subscription(wanted, link, side, 2**20, is_permanent=True)
        ).share_with(wanted)
        async with link.opened():
            # An attack that is no more than noise ends as well: no heartbeat follows.
            with fail_after(30):
                while peer.connections < 2 or not subscription.is_attached:
                    subscription.wake_up()
                    await sleep(0.01)
    assert "unexpected error" not in caplog.text
