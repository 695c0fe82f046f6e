"""The gateway's own metrics, without a gateway."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import pytest
from anyio import fail_after, sleep

from gateway.app.catalog import CATALOG
from gateway.components.otel import readings
from gateway.components.otel.readings import LoopLag, Readings
from gateway.config.structs import Service
from gateway.core.bridge import open_asyncio_side
from gateway.core.component import Assembly
from gateway.telemetry.metrics import Reading, Registry

pytestmark = pytest.mark.anyio


class Part:
    """A resource with readings."""

    def __init__(self, value: float) -> None:
        self.value = value

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        yield

    def readiness(self) -> dict[str, object]:
        return {"ready": True}

    def readings(self) -> Iterator[Reading]:
        yield Reading("link.up", {"broker": "b", "role": "consume"}, self.value)


class Silent:
    """A resource without readings."""

    opened = Part.opened

    def readiness(self) -> dict[str, object]:
        return {"ready": True}


async def test_equal_series_of_several_parts_are_added() -> None:
    registry = Registry()
    async with open_asyncio_side() as side:
        assembly = Assembly(Service(version=3), CATALOG, side)
        for number in (1, 2):
            assembly.resource(number, lambda number=number: Part(number))  # type: ignore[misc]
        assembly.resource("silent", Silent)
        registry.readers.append(lambda: [Reading("requests.in_flight", {}, 7)])
        registry.collectors.append(Readings(assembly, registry))
        for _ in range(2):  # a scrape does not add to the one before
            found = {each.name: each.samples for each in registry.samples()}
            assert [each.value for each in found["hutch_gateway.link.up"]] == [3]
            assert [each.value for each in found["hutch_gateway.requests.in_flight"]] == [7]


async def test_the_lag_of_a_loop_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "LAG_INTERVAL", 0.001)
    lag = LoopLag()
    async with lag.opened():
        with fail_after(10):
            while not lag.readiness()["lag"]:
                await sleep(0.001)
    assert [each.name for each in lag.readings()] == ["loop.lag"]


class Broken(Part):
    def readings(self) -> Iterator[Reading]:
        yield from super().readings()
        raise RuntimeError("broken")


async def test_a_part_that_raises_hides_no_other_part() -> None:
    registry = Registry()
    async with open_asyncio_side() as side:
        assembly = Assembly(Service(version=3), CATALOG, side)
        assembly.resource("broken", lambda: Broken(1))
        assembly.resource("good", lambda: Part(2))
        registry.collectors.append(Readings(assembly, registry))
        found = {each.name: each.samples for each in registry.samples()}
        assert [each.value for each in found["hutch_gateway.link.up"]] == [2]


async def test_a_counter_never_goes_back() -> None:
    """The numbers of another thread may be read in the middle of a change."""
    registry = Registry()
    numbers = [5, 3, 6]
    registry.readers.append(lambda: [Reading("publisher.returned", {}, numbers.pop(0))])
    async with open_asyncio_side() as side:
        assembly = Assembly(Service(version=3), CATALOG, side)
        registry.collectors.append(Readings(assembly, registry))
        found = []
        for _ in range(3):
            families = {each.name: each.samples for each in registry.samples()}
            found.append(families["hutch_gateway.publisher.returned"][0].value)
    assert found == [5, 5, 6]
