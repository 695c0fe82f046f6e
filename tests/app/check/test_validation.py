"""Traps of ``validation/``."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.config.load import load


def validated(
    level: str, extra: dict[str, Any], backend: str = "amqp://broker", method: str = "POST"
) -> str:
    """What is said when ``extra`` stands on an "endpoint" or a "backend"."""
    settings = {"name": "q", "exchange": "ex", "routing_key": ["#"], "prefetch_count": 500}
    settings["durable"] = True
    consumer = {"backend/amqp/consumer": settings} if backend.startswith("amqp") else {}
    on_backend = {"extra_config": {**consumer, **(extra if level == "backend" else {})}}
    endpoint = {
        "endpoint": "/a",
        "method": method,
        "backend": [{"host": [backend], "disable_host_sanitize": True, **on_backend}],
        "extra_config": extra if level == "endpoint" else {},
    }
    document = {"version": 3, "endpoints": [endpoint]}
    return "\n".join(map(str, check(load(document, CATALOG, {}).service, CATALOG)))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("now == ''", "never evaluated"),
        ("", "never evaluated"),
        ("JWT.sub == 'me'", "never evaluated"),
        ("req_method == 'GET' && resp_completed", "names both"),
        ("JWT.sub == req_method", "names a token and"),
        ("req_nosuch == 1", "undeclared reference to 'req_nosuch'"),
        ("resp_metadata_status == '200'", "no matching overload"),
    ],
)
def test_an_expression_with_a_trap_is_a_warning(text: str, word: str) -> None:
    extra = {"validation/cel": [{"check_expr": "req_method == 'GET'"}, {"check_expr": text}]}
    for level, place in (("endpoint", ""), ("backend", ".backend[0]")):
        where = f'$.endpoints[0]{place}.extra_config["validation/cel"][1].check_expr'
        said = validated(level, extra, "http://service")
        assert any(
            line.startswith(f"warning: {where}: ") and word in line for line in said.split("\n")
        )


def test_good_validation_has_no_warnings() -> None:
    extra = {
        "validation/cel": [{"check_expr": "resp_data.a == '1' && timestamp(now) != null"}],
        "validation/json-schema": {"type": "object"},
        "validation/response-json-schema": {"schema": {"type": "object"}},
    }
    assert validated("endpoint", extra) == ""


@pytest.mark.parametrize(
    ("schema", "method", "word"),
    [({"type": "object"}, "GET", "every GET"), ({"required": ["a"]}, "POST", 'without "type"')],
)
def test_a_schema_with_a_trap_is_a_warning(schema: Any, method: str, word: str) -> None:
    assert word in validated("endpoint", {"validation/json-schema": schema}, method=method)


@pytest.mark.parametrize(
    "extra",
    [
        {"validation/cel": [{"check_expr": "resp_completed"}]},
        {"validation/response-json-schema": {"schema": {"type": "object"}}},
    ],
)
def test_a_check_that_returns_messages_to_the_queue_is_a_warning(extra: dict[str, Any]) -> None:
    assert "tried again" in validated("backend", extra)
    assert "tried again" not in validated("backend", extra, "http://service")
