"""Listeners with the same port are errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.app.service import load
from gateway.cli import main
from gateway.config.findings import ConfigError

OTEL = "telemetry/opentelemetry"
OTEL_PORT = f'$.extra_config["{OTEL}"].exporters.prometheus[{{}}].port'
OPENCENSUS = {"exporters": {"prometheus": {"port": 9090}}}
OPENCENSUS_PORT = '$.extra_config["telemetry/opencensus"].exporters.prometheus.port'
STATS_ADDRESS = '$.extra_config["telemetry/metrics"].listen_address'
MANAGEMENT_PORT = "$.extra_config.gateway.management_port"


def document(extra: dict[str, Any], port: int = 8080, listen_ip: str = "") -> dict[str, Any]:
    return {"version": 3, "port": port, "listen_ip": listen_ip, "extra_config": extra}


def exporters(*settings: dict[str, Any]) -> dict[str, Any]:
    named = [{"name": str(number), **each} for number, each in enumerate(settings)]
    return {OTEL: {"exporters": {"prometheus": named}}}


def management(port: int) -> dict[str, Any]:
    return {"gateway": {"management_port": port}}


CONFLICTS = [
    (document(management(8080)), MANAGEMENT_PORT, "$.port", 8080),
    (document(exporters({}), 9090), OTEL_PORT.format(0), "$.port", 9090),
    (document({**exporters({}), **management(9090)}), OTEL_PORT.format(0), MANAGEMENT_PORT, 9090),
    (document(exporters({}, {"port": 0})), OTEL_PORT.format(1), OTEL_PORT.format(0), 9090),
    (
        document(exporters({"disable_metrics": True}, {}, {"listen_ip": "127.0.0.1"})),
        OTEL_PORT.format(2),
        OTEL_PORT.format(1),
        9090,
    ),
    (
        document(exporters({"host": "0.0.0.0"}, {"host": "127.0.0.1"})),
        OTEL_PORT.format(1),
        OTEL_PORT.format(0),
        9090,
    ),
    (
        document(exporters({"host": "::1"}, {"host": "0:0:0:0:0:0:0:1"})),
        OTEL_PORT.format(1),
        OTEL_PORT.format(0),
        9090,
    ),
    (document({"telemetry/metrics": {}}, 8090), STATS_ADDRESS, "$.port", 8090),
    (
        document({"telemetry/metrics": {}, **management(8090)}),
        STATS_ADDRESS,
        MANAGEMENT_PORT,
        8090,
    ),
    (document({"telemetry/opencensus": OPENCENSUS}, 9090), OPENCENSUS_PORT, "$.port", 9090),
]


@pytest.mark.parametrize(("config", "path", "other", "port"), CONFLICTS)
def test_listeners_with_one_port_are_an_error(
    config: dict[str, Any], path: str, other: str, port: int
) -> None:
    with pytest.raises(ConfigError) as raised:
        load(config, environ={})
    [finding] = [each for each in raised.value.findings if each.severity == "error"]
    assert finding.path == path
    assert finding.text == (
        f"expected a port of its own, found {port}, which {other} has, too: choose another port"
    )


@pytest.mark.parametrize(
    "config",
    [
        document(management(0), 0),
        document(exporters({"host": "127.0.0.2"}), 9090, "127.0.0.1"),
        document(exporters({"host": "0.0.0.0"}, {"host": "::"})),
        document(exporters({"disable_metrics": True}), 9090),
        document({"telemetry/metrics": {"endpoint_disabled": True}}, 8090),
        document({"telemetry/opencensus": OPENCENSUS, OTEL: {}}, 9090),
    ],
)
def test_listeners_that_have_nothing_in_common_are_no_error(config: dict[str, Any]) -> None:
    load(config, environ={})


def test_check_and_run_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gateway.json"
    file.write_text(json.dumps(document({"telemetry/metrics": {}, **management(8090)})))
    for command in ("check", "run"):
        assert main([command, "-c", str(file)]) == 1
        output = "".join(capsys.readouterr())
        assert f"{STATS_ADDRESS}: expected a port of its own, found 8090" in output
