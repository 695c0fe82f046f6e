"""Workers report the metrics of all, and go on with those of their earlier lives."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from anyio import fail_after, sleep

import gateway
from gateway.components.otel import shared_metrics as module
from gateway.components.otel.shared_metrics import (
    Families,
    MetricFile,
    SharedMetrics,
)
from gateway.core.shared_file import HEADER, open_shared_files
from gateway.telemetry.metrics import Family, FamilySample, Kind, Registry, Sample, Value

pytestmark = pytest.mark.anyio

OWNER = """
import sys
from gateway.components.otel.shared_metrics import MetricFile
from gateway.telemetry.metrics import FamilySample, Sample
file = MetricFile(int(sys.argv[1]))
file.store(tuple(FamilySample(kind, kind, (Sample((), 7),)) for kind in ("counter", "gauge")))
file.own()
print("owned", flush=True)
sys.stdin.readline()
"""
"""Stores two families, and lives until its standard input has a line or is closed."""


@pytest.fixture
def files() -> Generator[list[MetricFile]]:
    with open_shared_files("metrics", 2) as descriptors:
        yield [*map(MetricFile, descriptors)]


def content(value: float, series: int = 1) -> Families:
    samples = (Sample((("number", str(each)),), value) for each in range(series))
    return (FamilySample("a", "counter", tuple(samples)),)


def counting(kind: Kind = "counter") -> tuple[Registry, Value]:
    registry = Registry()
    return registry, registry.family(Family(kind, kind)).value({})


def values(families: Families) -> dict[str, float]:
    return {each.name: each.samples[0].value for each in families}


# The files.


def test_a_file_has_what_was_stored_last(files: list[MetricFile]) -> None:
    file, other = files
    assert file.load() == ()
    for number, series in enumerate([1, 3, 2, 100, 1, 1, 50, 200]):
        file.store(content(number, series))
        assert file.load() == file.load_of_other() == content(number, series)
    assert other.load() == ()


def test_a_file_does_not_grow_without_end() -> None:
    with open_shared_files("metrics", 1) as (descriptor,):
        file = MetricFile(descriptor)
        file.store(content(1, 100))
        size = os.fstat(descriptor).st_size
        for number in range(100):
            file.store(content(1, 100 + number % 5))
        assert os.fstat(descriptor).st_size < 3.2 * size


@pytest.mark.parametrize("written", [0, 1, 100])
def test_a_file_keeps_its_content_if_a_write_is_cut(
    files: list[MetricFile], written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, write = files[0], os.pwrite
    for number in range(4):
        file.store(content(number, 10))
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", lambda fd, data, at: write(fd, data[:written], at))
            with pytest.raises(OSError, match="no more space"):
                file.store(content(99, 10 * number + 10))
        assert file.load() == content(number, 10)


def test_content_of_another_version_is_no_content(caplog: pytest.LogCaptureFixture) -> None:
    with open_shared_files("metrics", 1) as (descriptor,):
        file = MetricFile(descriptor)
        os.pwrite(descriptor, HEADER.pack(HEADER.size, 3) + b"abc", 0)
        with caplog.at_level(logging.WARNING):
            assert file.load() == ()
        assert "cannot be read" in caplog.text
        file.store(content(1))
        assert file.load() == content(1)


@contextmanager
def owner(descriptor: int) -> Generator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(descriptor)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[descriptor],
        cwd=Path(gateway.__file__).parents[1],
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"owned\n"
            yield process
        finally:
            process.kill()


def test_gauges_of_a_process_are_gone_when_it_is_killed() -> None:
    with open_shared_files("metrics", 1) as (descriptor,):
        file = MetricFile(descriptor)
        with owner(descriptor) as process:
            for _ in range(2):  # looking does not take the lock from the owner
                assert values(file.load_of_other()) == {"counter": 7, "gauge": 7}
            process.kill()
            process.wait()
        assert values(file.load_of_other()) == {"counter": 7}
        with owner(descriptor):
            assert values(file.load_of_other()) == {"counter": 7, "gauge": 7}


# The workers.


async def test_a_worker_reports_all(files: list[MetricFile]) -> None:
    (first, ones), (second, twos) = counting(), counting()
    ones.value, twos.value = 1, 2
    here, there = (
        SharedMetrics(first, *_ordered(files)),
        SharedMetrics(second, *_ordered(files[::-1])),
    )
    async with here.opened(), there.opened():
        assert values(here.samples()) == {"counter": 1}
        assert values(there.samples()) == {"counter": 3}
        assert values(here.samples()) == {"counter": 3}  # the other has stored what it reported
        assert here.readiness()["ready"]


def _ordered(files: list[MetricFile]) -> tuple[MetricFile, list[MetricFile]]:
    return files[0], files[1:]


async def test_a_worker_stores_its_metrics_regularly(
    files: list[MetricFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WRITE_INTERVAL", 0.001)
    registry, counter = counting()
    async with SharedMetrics(registry, files[0], ()).opened():
        for number in range(1, 4):
            counter.value = number
            with fail_after(50):
                while values(files[0].load()) != {"counter": number}:
                    await sleep(0.001)


async def test_a_worker_goes_on_with_the_counters_of_its_earlier_lives(
    files: list[MetricFile],
) -> None:
    for number in range(1, 4):
        registry, counter = counting()
        now = registry.family(Family("gauge", "gauge")).value({})
        metrics = SharedMetrics(registry, files[0], ())
        async with metrics.opened():
            assert values(files[0].load()) == ({"counter": 10 * (number - 1)} if number > 1 else {})
            counter.value, now.value = 9, number
            assert values(metrics.samples()) == {"counter": 10 * number - 1, "gauge": number}
            counter.value, now.value = 10, 0
        assert values(files[0].load()) == {"counter": 10 * number, "gauge": 0}


async def test_the_metrics_at_the_end_of_a_worker_are_stored_also_after_an_error(
    files: list[MetricFile],
) -> None:
    registry, counter = counting()
    with pytest.raises(KeyError):
        async with SharedMetrics(registry, files[0], ()).opened():
            counter.value = 5
            raise KeyError
    assert values(files[0].load()) == {"counter": 5}


async def test_a_worker_lives_on_when_its_file_cannot_be_written(
    files: list[MetricFile], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registry, counter = counting()
    metrics = SharedMetrics(registry, files[0], ())
    async with metrics.opened():
        counter.value = 5
        with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
            patched.setattr(os, "pwrite", lambda *_: 0)
            for _ in range(3):
                assert values(metrics.samples()) == {"counter": 5}
        assert len(caplog.records) == 1
        assert values(metrics.samples()) == values(files[0].load()) == {"counter": 5}
