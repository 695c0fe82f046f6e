"""What every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Generator
from itertools import count

import pytest

from gateway.broker import Broker, open_broker

_numbers = count()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Tests that wait run on both async libraries."""
    return str(request.param)


@pytest.fixture(scope="session")
def broker() -> Generator[Broker]:
    """A RabbitMQ of our own: tests may stop it, cut it, fill it."""
    with open_broker(with_management=True) as broker:
        yield broker


@pytest.fixture
def vhost_url(broker: Broker) -> Generator[str]:
    """The URL of a virtual host that nobody else uses."""
    name = f"test-{os.getpid()}-{next(_numbers)}"
    yield broker.add_vhost(name)
    broker.delete_vhost(name)
