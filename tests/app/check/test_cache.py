"""The traps of caches that ``gateway check`` warns of."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.config.load import load


def findings_of(
    settings: dict[str, Any], *, headers: tuple[str, ...] = (), method: str = "GET", **backend: Any
) -> list[str]:
    made = {
        "url_pattern": "/",
        "host": ["http://a.test"],
        "extra_config": {"qos/http-cache": settings},
        **backend,
    }
    endpoint = {"endpoint": "/a", "method": method, "backend": [made], "input_headers": headers}
    found = list(check(load({"version": 3, "endpoints": [endpoint]}, CATALOG, {}).service, CATALOG))
    where = '$.endpoints[0].backend[0].extra_config["qos/http-cache"]'
    assert {each.path for each in found} <= {where}
    return [each.text for each in found]


def test_a_good_cache_has_no_warnings() -> None:
    assert findings_of({}) == []
    assert findings_of({"max_items": 10, "max_size": 1000}, headers=("Accept", "X-User")) == []
    assert findings_of({"shared": True}, method="POST") == []


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"settings": {"max_items": 10}}, "only together"),
        ({"settings": {}, "method": "POST"}, "only responses to GET"),
        ({"settings": {}, "headers": ("*",)}, "few responses are used again"),
    ],
)
def test_a_trap_of_caches_is_a_warning(keys: dict[str, Any], word: str) -> None:
    [text] = findings_of(**keys)
    assert word in text


def test_the_list_of_the_backend_counts() -> None:
    assert findings_of({}, headers=("*",), input_headers=["Accept"]) == []


def test_messages_are_not_cached() -> None:
    consumer = {
        "name": "q",
        "exchange": "ex",
        "routing_key": ["#"],
        "durable": True,
        "prefetch_count": 500,
    }
    extra = {"qos/http-cache": {}, "backend/amqp/consumer": consumer}
    [text] = findings_of({}, host=["amqp://b"], disable_host_sanitize=True, extra_config=extra)
    assert "messages are not stored" in text
