"""The traps of circuit breakers that ``gateway check`` warns of."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.config.load import load

CONSUMER = {
    "name": "q",
    "exchange": "ex",
    "routing_key": ["#"],
    "durable": True,
    "prefetch_count": 500,
}


def findings_of(
    settings: dict[str, Any], encoding: str = "json", is_consumer: bool = False
) -> list[str]:
    host = "amqp://broker" if is_consumer else "http://a.test"
    extra = {"backend/amqp/consumer": CONSUMER} if is_consumer else {}
    backend = {
        "url_pattern": "/",
        "host": [host],
        "disable_host_sanitize": True,
        "encoding": encoding,
        "extra_config": {"qos/circuit-breaker": settings, **extra},
    }
    endpoint = {"endpoint": "/a", "output_encoding": encoding, "backend": [backend]}
    document = {"version": 3, "endpoints": [endpoint]}
    found = list(check(load(document, CATALOG, {}).service, CATALOG))
    where = '$.endpoints[0].backend[0].extra_config["qos/circuit-breaker"]'
    assert {each.path for each in found} <= {where}
    return [each.text for each in found]


GOOD = {"interval": 60, "timeout": 10, "max_errors": 3}


def test_a_good_breaker_has_no_warnings() -> None:
    assert findings_of(GOOD) == []


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"max_errors": 0}, "first failure"),
        ({"max_errors": -1}, "never opens"),
        ({"timeout": 0}, "60 s"),
        ({"interval": 0}, "days apart"),
        ({"interval": 0, "timeout": 0, "max_errors": 0}, "there is no breaker"),
    ],
)
def test_a_trap_of_breakers_is_a_warning(settings: dict[str, Any], word: str) -> None:
    [text] = findings_of({**GOOD, **settings})
    assert word in text


def test_a_breaker_on_a_consumer_is_a_warning() -> None:
    [text] = findings_of(GOOD, is_consumer=True)
    assert "of little use on a consumer" in text


def test_a_breaker_with_no_op_is_a_warning() -> None:
    [text] = findings_of(GOOD, "no-op")
    assert "every status is a success" in text


def test_an_extension_is_a_hint() -> None:
    assert findings_of({**GOOD, "ignored_statuses": [404]}) == [
        "only this gateway knows: ignored_statuses"
    ]
    assert "there is no breaker" in " ".join(findings_of({"ignored_statuses": [404]}))
