"""Metrics of the process and of Python."""

from __future__ import annotations

import gc
import os
import platform
import re
import resource
from pathlib import Path

import psutil
import pytest

from gateway.components.otel.prometheus import exposition
from gateway.components.otel.runtime import NO_LIMIT, add_process_metrics, add_python_metrics
from gateway.telemetry.metrics import Registry

LINE = re.compile(r"([a-z_]+(?:\{[^}]*\})?) (\S+)")


def numbers(registry: Registry) -> dict[str, float]:
    lines = "".join(exposition(registry.samples(), ())).splitlines()
    found = [LINE.fullmatch(line) for line in lines if not line.startswith("#")]
    assert all(found)
    return {each[1]: float(each[2]) for each in found if each and each[1] != "target_info"}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux has these files")
def test_metrics_of_the_process_are_those_that_the_system_reports() -> None:
    registry = Registry()
    add_process_metrics(registry)
    found, process = numbers(registry), psutil.Process()
    assert found.keys() == {
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_network_receive_bytes_total",
        "process_network_transmit_bytes_total",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_virtual_memory_bytes",
        "process_virtual_memory_max_bytes",
    }
    times = process.cpu_times()
    assert found["process_cpu_seconds_total"] == pytest.approx(times.user + times.system, abs=5)
    assert found["process_max_fds"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert found["process_open_fds"] == pytest.approx(process.num_fds(), abs=5)
    memory = process.memory_info()
    assert found["process_resident_memory_bytes"] == pytest.approx(memory.rss, rel=0.3)
    assert found["process_virtual_memory_bytes"] == pytest.approx(memory.vms, rel=0.3)
    assert found["process_start_time_seconds"] == pytest.approx(process.create_time(), abs=2)


def test_other_systems_have_what_python_knows(tmp_path: Path) -> None:
    registry = Registry()
    add_process_metrics(registry, tmp_path)
    found = numbers(registry)
    assert found.keys() == {
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_virtual_memory_max_bytes",
    }
    assert found["process_cpu_seconds_total"] > 0


def proc(folder: Path, *, files: int = 3) -> Path:
    """Files of a system that has started at 1000; one tick is a part of a second."""
    own = folder / "self"
    (own / "net").mkdir(parents=True)
    (own / "fd").mkdir()
    for number in range(files):
        (own / "fd" / str(number)).touch()
    (folder / "stat").write_text("cpu 1 2 3\nbtime 1000\nprocesses 7\n")
    fields = ["S", *["0"] * 18, str(50 * os.sysconf("SC_CLK_TCK")), "8192", "3", "0"]
    (own / "stat").write_text(f"1 (a) b) {' '.join(fields)}\n")
    (own / "net" / "netstat").write_text(
        "TcpExt: A B\nTcpExt: 1 2\nIpExt: A InOctets OutOctets\nIpExt: 1 20 30\n"
    )
    return folder


def test_files_about_the_process_are_understood(tmp_path: Path) -> None:
    registry = Registry()
    add_process_metrics(registry, proc(tmp_path))
    found = numbers(registry)
    assert found["process_start_time_seconds"] == 1050
    assert found["process_virtual_memory_bytes"] == 8192
    assert found["process_resident_memory_bytes"] == 3 * os.sysconf("SC_PAGE_SIZE")
    assert found["process_network_receive_bytes_total"] == 20
    assert found["process_network_transmit_bytes_total"] == 30
    assert found["process_open_fds"] > 0


def test_old_values_stay_while_no_file_can_be_opened(tmp_path: Path) -> None:
    registry = Registry()
    add_process_metrics(registry, proc(tmp_path))
    before = numbers(registry)
    (tmp_path / "self" / "stat").unlink()
    (tmp_path / "self" / "net" / "netstat").unlink()
    after = numbers(registry)
    for name in before.keys() - {"process_cpu_seconds_total"}:
        assert after[name] == before[name], name


@pytest.mark.parametrize(
    ("hidden", "missing"),
    [
        ("stat", {"process_start_time_seconds"}),
        ("self/net/netstat", {"process_network_receive_bytes_total"}),
        ("self/stat", {"process_start_time_seconds", "process_resident_memory_bytes"}),
    ],
)
@pytest.mark.parametrize("text", [None, "TcpExt: A B\n"])
def test_a_container_may_hide_a_file_or_its_lines(
    hidden: str, missing: set[str], text: str | None, tmp_path: Path
) -> None:
    file = proc(tmp_path) / hidden
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    registry = Registry()
    add_process_metrics(registry, tmp_path)
    found = {each.name for each in registry.samples()}
    assert "process_cpu_seconds_total" in found
    assert not missing & found


def test_no_limit_is_a_large_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, 0))
    registry = Registry()
    add_process_metrics(registry, tmp_path)
    text = "".join(exposition(registry.samples(), ()))
    assert "\nprocess_max_fds 1.8446744073709552e+19\n" in text
    assert numbers(registry)["process_virtual_memory_max_bytes"] == NO_LIMIT


def test_metrics_of_python_have_the_names_of_prometheus() -> None:
    registry = Registry()
    add_python_metrics(registry)
    before = numbers(registry)
    gc.collect()
    after = numbers(registry)
    major, minor, patch = platform.python_version_tuple()
    info = (
        f'python_info{{implementation="{platform.python_implementation()}",major="{major}",'
        f'minor="{minor}",patchlevel="{patch}",version="{platform.python_version()}"}}'
    )
    assert after[info] == 1
    counters = {
        f'python_gc_{name}_total{{generation="{number}"}}'
        for name in ("collections", "objects_collected", "objects_uncollectable")
        for number in range(3)
    }
    assert after.keys() == {info, *counters}
    oldest = 'python_gc_collections_total{generation="2"}'
    assert after[oldest] == before[oldest] + 1
