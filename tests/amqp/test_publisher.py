"""Publishers without a broker."""

from __future__ import annotations

from typing import cast

import pytest

from gateway.amqp.connection.link import BrokerConnection
from gateway.amqp.connection.urls import parse_broker_url
from gateway.amqp.publish.publisher import Publisher, PublishLink
from gateway.amqp.settings import ProducerSettings
from gateway.core.bridge import open_asyncio_side

from .test_confirm_channel import Line, publication

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_full_window_affects_its_exchange_only() -> None:
    async with open_asyncio_side() as side:
        link = PublishLink((parse_broker_url("amqp://127.0.0.1:1/"),), side, limit=2)
        lines = [Line(), Line()]
        publishers = [Publisher(ProducerSettings(exchange=name), link, side) for name in "ab"]
        for publisher, line in zip(publishers, lines, strict=True):
            publisher._main.open(1, cast(BrokerConnection, line))
        for _ in range(5):
            publishers[0].publish(publication(b"never confirmed"))
        publishers[1].publish(publication(b"written"))
        assert [len(line.written) for line in lines] == [2, 1]
