"""What every test may ask for."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from gateway.demo.broker import Broker, open_broker

_numbers = count()

# Other tests run beside: how long an example takes says nothing. The same examples every time, so
# that a run tells of the change and not of its luck; new ones: --hypothesis-profile=search
BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", BUSY, derandomize=True)
settings.register_profile("search", BUSY, max_examples=3000)
settings.load_profile("same")

HTTP_CASE = "test_http.py::test_recorded_case["


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Of tests in several processes: those of one recorded HTTP file share a gateway, and build on
    each other; each other test goes where there is time."""

    def _split_scope(self, nodeid: str) -> str:
        _, found, case = nodeid.partition(HTTP_CASE)
        return HTTP_CASE + case.split("-")[0] if found else nodeid


def pytest_collection_finish() -> None:
    """What stays for the whole run is not looked through again: it would stop every test for
    longer than some of them wait."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    return Scheduling(config, log)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Tests that wait run on both async libraries."""
    return str(request.param)


@pytest.fixture(scope="session")
def broker() -> Generator[Broker]:
    """A RabbitMQ of our own: tests may stop it, cut it, fill it.

    GATEWAY_TEST_RABBITMQ_ROOT: a folder with another Debian, whose RabbitMQ is used.
    """
    root = os.environ.get("GATEWAY_TEST_RABBITMQ_ROOT")
    with open_broker(with_management=True, root=Path(root) if root else None) as broker:
        yield broker


@pytest.fixture
def vhost_url(broker: Broker) -> Generator[str]:
    """The URL of a virtual host that nobody else uses."""
    name = f"test-{os.getpid()}-{next(_numbers)}"
    yield broker.add_vhost(name)
    broker.delete_vhost(name)
