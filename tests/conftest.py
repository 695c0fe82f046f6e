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

from .brokers import VARIABLE, NotAvailable, chosen_root, exact_version

_numbers = count()

# Other tests run beside: how long an example takes says nothing. The same examples every time, so
# that a run tells of the change and not of its luck; new ones: --hypothesis-profile=search
BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", BUSY, derandomize=True)
settings.register_profile("search", BUSY, max_examples=3000)
settings.load_profile("same")

OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")

HTTP_CASE = "test_http.py::test_recorded_case["
BROWSER = "tests/browser/"


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Of tests in several processes: those of one recorded HTTP file share a gateway, and build on
    each other; those of one file of ``browser`` share a browser; each other test goes where there
    is time."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(BROWSER):
            return nodeid.partition("::")[0]
        _, found, case = nodeid.partition(HTTP_CASE)
        return HTTP_CASE + case.split("-")[0] if found else nodeid


def pytest_collection_finish() -> None:
    """What stays for the whole run is not looked through again: it would stop every test for
    longer than some of them wait."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line with the version of RabbitMQ, for ``scripts/test``."""
    path = os.environ.get("GATEWAY_TEST_SUMMARY")
    if path is None:
        return
    stats = terminalreporter.stats
    counts = [f"{len(stats[kind]):,} {kind}" for kind in OUTCOMES if kind in stats]
    try:
        version = exact_version(chosen_root())
    except NotAvailable:
        version = os.environ[VARIABLE]
    Path(path).write_text(f"RabbitMQ {version}: {', '.join(counts) or 'no tests'}\n")


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

    GATEWAY_TEST_RABBITMQ: its version, one of ``scripts/brokers --list``.
    Absent: the installed RabbitMQ.
    """
    try:
        root = chosen_root()
    except NotAvailable as reason:
        pytest.skip(f"RabbitMQ {os.environ[VARIABLE]}: {reason}")
    with open_broker(with_management=True, root=root) as broker:
        yield broker


@pytest.fixture
def vhost_url(broker: Broker) -> Generator[str]:
    """The URL of a virtual host that no other test uses."""
    name = f"test-{os.getpid()}-{next(_numbers)}"
    yield broker.add_vhost(name)
    broker.delete_vhost(name)
