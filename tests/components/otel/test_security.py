"""``telemetry/opentelemetry-security``: what is wrong with it, and that no message has a secret."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.app.service import load
from gateway.config.findings import ConfigError, lines

from ..gateways import document

EXPORTER = {"name": "own", "host": "127.0.0.1", "use_http": True, "port": 1}
SECRET = "s3cr3t"


def said(security: dict[str, Any], **exporter: Any) -> str:
    telemetry = {"exporters": {"otlp": [{**EXPORTER, **exporter}]}}
    names = {"telemetry/opentelemetry": telemetry, "telemetry/opentelemetry-security": security}
    try:
        found = load(document() | {"extra_config": names}, environ={}).all_findings
    except ConfigError as error:
        found = tuple(error.findings)
    text = "\n".join(lines(found, ("error", "warning")))
    assert SECRET not in text
    return text


def entry(name: str = "own", **headers: Any) -> dict[str, Any]:
    return {"otlp": [{"name": name, "headers": headers or {"api-key": SECRET}}]}


def test_headers_of_an_exporter_are_fine() -> None:
    assert not said(entry())


def test_an_exporter_that_does_not_exist_is_reported() -> None:
    text = 'otlp[0].name: no effect: exporters.otlp of telemetry/opentelemetry has no exporter "x"'
    assert text in said(entry("x"))
    assert 'has no exporter ""' in said(entry(""), name="")


def test_an_entry_without_headers_is_reported() -> None:
    assert "no headers: it has no effect" in said({"otlp": [{"name": "own"}]})


def test_secrets_that_leave_the_machine_without_encryption_are_reported() -> None:
    text = "otlp[0].headers: are sent to another machine without encryption"
    assert text in said(entry(), host="collector")
    assert not said(entry(), host="https://collector")


def test_a_variable_that_is_not_set_stops_the_start() -> None:
    [line] = said(entry(**{"api-key": "${NOT_THERE}"})).splitlines()
    assert line.endswith("headers.api-key: ${NOT_THERE} is not set")
    assert line.startswith("error: ")


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"a b": SECRET}, "expected names of headers"),
        ({"": SECRET}, "expected names of headers"),
        ({"a": f"{SECRET}\n"}, "headers.a: expected a value of visible characters in ASCII"),
        ({"a": f" {SECRET}"}, "headers.a: expected a value of visible characters in ASCII"),
        ({"a": f"{SECRET}é"}, "headers.a: expected a value of visible characters in ASCII"),
    ],
)
def test_headers_that_cannot_be_sent_stop_the_start(headers: dict[str, str], text: str) -> None:
    found = said(entry(**headers))
    assert found.startswith("error: ")
    assert text in found
