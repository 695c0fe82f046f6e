"""Keys that are not known: the message says what was meant."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.app.catalog import CATALOG
from gateway.config.load import load


def reported(
    root: dict[str, Any] | None = None,
    endpoint: dict[str, Any] | None = None,
    backend: dict[str, Any] | None = None,
) -> str:
    whole = {"host": ["http://b"], **(backend or {})}
    endpoints = [{"endpoint": "/a", "backend": [whole], **(endpoint or {})}]
    loaded = load({"version": 3, "endpoints": endpoints, **(root or {})}, CATALOG, {})
    (found,) = loaded.findings
    assert found.severity == "warning"
    return f"{found.path}: {found.text}"


@pytest.mark.parametrize(
    ("old", "new", "level"),
    [
        ("whitelist", "allow", "backend"),
        ("blacklist", "deny", "backend"),
        ("headers_to_pass", "input_headers", "endpoint"),
        ("querystring_params", "input_query_strings", "endpoint"),
    ],
)
def test_a_key_of_krakend_1_is_reported_with_the_one_of_today(
    old: str, new: str, level: str
) -> None:
    text = reported(**{level: {old: ["a"]}})
    assert f'unknown key, ignored: it is KrakenD 1\'s name of "{new}"' in text


def test_a_namespace_outside_of_extra_config_belongs_in_it() -> None:
    where = "unknown key, ignored: it belongs in extra_config"
    assert reported({"router": {"trusted_proxies": []}}) == f"$.router: {where}"
    assert where in reported(endpoint={"qos/ratelimit/router": {}})
    assert where in reported({"telemetry/logging": {}})


def test_a_key_of_another_level_is_reported_with_its_level() -> None:
    text = reported(endpoint={"url_pattern": "/x"})
    assert text.endswith("unknown key, ignored: it belongs to a backend")
    assert reported(backend={"concurrent_calls": 3}).endswith("it belongs to an endpoint")


def test_a_misspelt_key_is_reported_with_the_right_one() -> None:
    assert reported(endpoint={"timeot": "1s"}).endswith('; did you mean "timeout"?')
    assert reported({"nosuch": 1}).endswith("unknown key, ignored")
