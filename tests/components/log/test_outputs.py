"""Where the log goes, over real sockets and pipes."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import subprocess
import sys
import zlib
from pathlib import Path
from threading import Thread

import pytest

from gateway.app.catalog import CATALOG
from gateway.components.log import outputs
from gateway.components.log.gelf import MAX_CHUNK_BYTES, MAX_TEXT
from gateway.components.log.outputs import open_log
from gateway.config.findings import ConfigError
from gateway.config.load import load
from gateway.config.structs import Service

log = logging.getLogger("gateway.x")
FIELDS = {"fields": {"endpoint": "GET /a", "status": 502}}


@pytest.fixture(autouse=True)
def passes_all_levels() -> None:
    log.setLevel(logging.NOTSET)


def service(**namespaces: object) -> Service:
    extra = {f"telemetry/{name}": settings for name, settings in namespaces.items()}
    return load({"version": 3, "extra_config": extra}, CATALOG).service


def lines_of(configured: Service | None, level: int | None = None) -> tuple[list[str], list[str]]:
    """The lines on standard output and on standard error."""
    out, err = io.StringIO(), io.StringIO()
    with open_log(configured, level=level, stdout=out, stderr=err):
        log.debug("details")
        log.warning('a "quoted"\nline', extra=FIELDS)
        logging.getLogger("other").error("forged\nline")
    return out.getvalue().splitlines(), err.getvalue().splitlines()


def test_without_settings_it_goes_to_standard_error_from_info_on() -> None:
    out, err = lines_of(None)
    assert out == []
    assert [line.split(" ", 2)[2] for line in err] == [
        'WARNING gateway.x: a "quoted"\\u000aline',
        "ERROR other: forged\\u000aline",
    ]


def test_the_level_of_the_command_replaces_that_of_the_configuration() -> None:
    configured = service(logging={"level": "ERROR", "stdout": True})
    assert len(lines_of(configured)[0]) == 1
    assert len(lines_of(configured, logging.DEBUG)[0]) == 3


@pytest.mark.parametrize("level", ["warning", "WARNING"])
def test_levels_have_no_case(level: str) -> None:
    out, err = lines_of(service(logging={"level": level, "stdout": True}))
    assert (len(out), err) == (2, [])


def test_an_unknown_level_logs_everything() -> None:
    assert len(lines_of(service(logging={"level": "loud", "stdout": True}))[0]) == 3


def test_without_an_output_nothing_is_written() -> None:
    assert lines_of(service(logging={"level": "DEBUG"})) == ([], [])


def test_json_lines_have_the_fields_of_the_record() -> None:
    out, _ = lines_of(service(logging={"level": "INFO", "stdout": True, "format": "json"}))
    line = json.loads(out[0])
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "gateway.x",
        "message": 'a "quoted"\\u000aline',
        "endpoint": "GET /a",
        "status": 502,
    }


def test_the_logstash_format_is_valid_json() -> None:
    settings = {"level": "INFO", "stdout": True, "format": "logstash", "prefix": "[K]"}
    line = json.loads(lines_of(service(logging=settings))[0][0])
    assert list(line) == ["@timestamp", "@version", "level", "message", "module"]
    assert line["message"] == 'a "quoted"\\u000aline'


def test_events_for_logstash_have_the_prefix_as_their_module() -> None:
    configured = service(
        logging={"level": "INFO", "stdout": True, "prefix": "[K]"}, logstash={"enabled": True}
    )
    line = json.loads(lines_of(configured)[0][0])
    assert list(line) == ["@timestamp", "@version", "host", "level", "message", "module"]
    assert (line["module"], line["host"]) == ("[K]", socket.gethostname())


def test_gelf_over_udp_is_compressed_and_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        configured = service(logging={"level": "INFO"}, gelf={"address": address})
        with open_log(configured):
            log.error("short", extra=FIELDS)
            log.info("%s", os.urandom(4000).hex())
        message = json.loads(zlib.decompress(server.recv(65536)))
        assert message.pop("timestamp") > 0
        assert message == {
            "version": "1.1",
            "host": socket.gethostname(),
            "short_message": "short",
            "level": 3,
            "_logger": "gateway.x",
            "_endpoint": "GET /a",
            "_status": 502,
        }
        first = server.recv(65536)
        number = first[11]
        chunks = [first, *(server.recv(65536) for _ in range(number - 1))]
        assert {chunk[:10] for chunk in chunks} == {first[:10]}
        assert [(chunk[10], chunk[11]) for chunk in chunks] == [(n, number) for n in range(number)]
        assert first[:2] == b"\x1e\x0f"
        assert max(map(len, chunks)) == MAX_CHUNK_BYTES
        divided = json.loads(zlib.decompress(b"".join(chunk[12:] for chunk in chunks)))
        assert len(divided["short_message"]) == 8000


def test_gelf_over_tcp_ends_each_message_by_a_zero() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        settings = {"address": address, "enable_tcp": True}
        with open_log(service(logging={"level": "INFO"}, gelf=settings)):
            log.warning("one")
            log.warning("two")
            client, _ = server.accept()
            with client, client.makefile("rb") as stream:
                received = b""
                while received.count(b"\0") < 2:
                    received += stream.read(1)
    texts = [json.loads(each)["short_message"] for each in received.split(b"\0")[:2]]
    assert texts == ["one", "two"]


def test_a_gelf_server_that_is_away_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    settings = {"address": address, "enable_tcp": True}
    with open_log(service(logging={"level": "INFO"}, gelf=settings)):
        log.warning("one")
        log.warning("two")
    text = f"telemetry/gelf: {address} cannot be reached: lines of the log are lost\n"
    assert capsys.readouterr().err == text


def test_syslog_has_priority_prefix_and_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    monkeypatch.setattr(outputs, "SYSLOG", str(path))
    settings = {"level": "INFO", "syslog": True, "syslog_facility": "local1", "prefix": "[K]"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(10)
        with open_log(service(logging=settings)):
            log.error("text")
            line = server.recv(65536)
            server.close()
            path.unlink()
            log.error("lost")
            log.error("lost")
    assert line.rstrip(b"\0") == b"<139>[K]: ERROR > text"
    expected = f"telemetry/logging: syslog ({path}) cannot be reached: lines of the log are lost\n"
    assert capsys.readouterr().err == expected


def test_a_machine_without_syslog_logs_to_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "SYSLOG", str(tmp_path / "log"))
    out, err = lines_of(service(logging={"level": "ERROR", "syslog": True}))
    assert (out, len(err)) == ([], 2)
    assert err[0].startswith("telemetry/logging: this machine has no syslog")


def test_logging_is_as_before_when_the_log_is_closed() -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    with open_log(None, level=logging.DEBUG, stderr=io.StringIO()):
        assert root.level == logging.DEBUG
    assert (root.handlers, root.level) == before


BLOCKED = """
import logging, os, sys
from gateway.components.log import outputs
from gateway.telemetry import log_thread
log_thread.CLOSE_TIMEOUT = 0.1
with outputs.open_log():
    for number in range(5000):
        logging.getLogger("gateway.x").warning("x" * 100)
    os.write(1, b"all logged")
"""


def test_a_process_ends_although_nobody_reads_its_log() -> None:
    """The pipe of standard error is full, and stays so."""
    with subprocess.Popen(
        [sys.executable, "-c", BLOCKED], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"all logged"
        assert process.wait(30) == 0


def test_lines_of_several_writers_do_not_mix() -> None:
    """A pipe that is read slowly, and two writers of many lines."""
    reading, writing = os.pipe()
    received = bytearray()
    output = outputs.Descriptor(writing)
    texts = [(letter * 99 + "\n") * 500 for letter in "ab"]
    writers = [Thread(target=output.write, args=(text,)) for text in texts]
    for writer in writers:
        writer.start()
    while len(received) < 2 * 50_000:
        received += os.read(reading, 1000)
    for writer in writers:
        writer.join()
    os.close(reading)
    os.close(writing)
    assert {len(set(line)) for line in received.splitlines()} == {1}


def test_a_pipe_that_does_not_block_gets_everything() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    writer = Thread(target=outputs.Descriptor(writing).write, args=("x" * 200_000,))
    writer.start()
    received = 0
    while received < 200_000:
        received += len(os.read(reading, 65536))
    writer.join()
    os.close(reading)
    os.close(writing)


def test_a_file_gets_all_lines_in_one_write_and_a_pipe_some_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    text = ("x" * 99 + "\n") * 500
    write = os.write

    def noted(number: int, data: bytes) -> int:
        sizes.append(len(data))
        return write(number, data)

    monkeypatch.setattr(os, "write", noted)
    with (tmp_path / "log").open("wb") as file:
        outputs.Descriptor(file.fileno()).write(text)
    assert (tmp_path / "log").read_text() == text
    assert sizes == [50_000]
    sizes.clear()
    reading, writing = os.pipe()
    outputs.Descriptor(writing).write(text)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == text
    assert set(sizes) == {4000, 2000}


def test_an_address_that_is_none_is_an_error() -> None:
    settings = {"address": "a..b:12201"}
    with pytest.raises(ConfigError, match="label"):
        service(logging={"level": "INFO"}, gelf=settings)


def test_gelf_over_udp_knows_ipv6() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.bind(("::1", 0))
        server.settimeout(10)
        address = f"[::1]:{server.getsockname()[1]}"
        with open_log(service(logging={"level": "INFO"}, gelf={"address": address})):
            log.error("x" * 100_000)
        message = json.loads(zlib.decompress(server.recv(65536)))
    assert message["short_message"] == "x" * MAX_TEXT
