"""Traps of ``proxy``, on endpoints and backends."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.config.load import load


def proxy_findings(endpoint: dict[str, Any], *backends: dict[str, Any]) -> dict[str, str]:
    """Path below the endpoint -> text, for HTTP backends with these keys."""
    plain = {"host": ["http://service.test"], "url_pattern": "/x"}
    document = {
        "version": 3,
        "endpoints": [
            {
                "endpoint": "/a",
                "extra_config": {"proxy": endpoint},
                "backend": [{**plain, **each} for each in backends],
            }
        ],
    }
    found = check(load(document, CATALOG, {}).service, CATALOG)
    return {each.path.removeprefix("$.endpoints[0]."): each.text for each in found}


def own(**settings: Any) -> dict[str, Any]:
    return {"extra_config": {"proxy": settings}}


@pytest.mark.parametrize("key", ["input_headers", "input_query_strings"])
def test_a_wildcard_in_a_list_of_a_backend_is_a_warning(key: str) -> None:
    [(where, text)] = proxy_findings({}, {key: ["*"]}).items()
    assert (where, "endpoints only" in text) == (f"backend[0].{key}", True)


MOVE = {"type": "move", "args": ["a", "b"]}


def test_a_good_proxy_has_no_warnings() -> None:
    static = {"data": {"a": 1}, "strategy": "errored"}
    endpoint = {"sequential": True, "static": static, "flatmap_filter": [MOVE]}
    backends: Any = (
        {},
        {"url_pattern": "/{resp0_id}"},
        own(shadow=True),
        own(flatmap_filter=[MOVE]),
    )
    assert proxy_findings(endpoint, *backends) == {}


@pytest.mark.parametrize(
    ("settings", "path", "word"),
    [
        ({"static": {}}, "static", "without data"),
        ({"static": {"data": {}, "strategy": "nosuch"}}, "static.strategy", '"always" is used'),
        ({"combiner": "nosuch"}, "combiner", '"default" is used'),
        ({"flatmap_filter": [{"type": "copy"}]}, "flatmap_filter[0]", 'unknown type "copy"'),
        ({"flatmap_filter": [MOVE, {"type": "move"}]}, "flatmap_filter[1]", "two paths"),
        ({"shadow": True}, "shadow", "no meaning"),
    ],
)
def test_traps_of_proxy_on_an_endpoint_are_warnings(
    settings: dict[str, Any], path: str, word: str
) -> None:
    [(where, text)] = proxy_findings(settings, {}, {}).items()
    assert (where, word in text) == (f"extra_config.proxy.{path}", True)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("resp0", 'needs "encoding": "no-op"'),
        ("resp1_id", "no backend is called after response 1"),
        ("resp7", "no backend is called after response 7"),
    ],
)
def test_a_propagated_value_that_never_exists_is_a_warning(name: str, word: str) -> None:
    settings = {"sequential": True, "sequential_propagated_params": ["resp0_id", name]}
    [(where, text)] = proxy_findings(settings, {}, {}).items()
    assert (where, word in text) == (
        "extra_config.proxy.sequential_propagated_params[1]",
        True,
    )


def test_settings_for_several_backends_have_no_effect_with_one() -> None:
    settings = {"sequential": True, "flatmap_filter": [MOVE]}
    found = proxy_findings(settings, {}, own(shadow=True))
    assert found.keys() == {"extra_config.proxy.sequential", "extra_config.proxy.flatmap_filter"}


@pytest.mark.parametrize(
    ("keys", "path", "word"),
    [
        (own(sequential=True), "sequential", "no meaning"),
        (own(static={"data": {}}), "static", "no meaning"),
        (own(flatmap_filter=[{"type": "append"}]), "flatmap_filter[0]", "two paths"),
        ({**own(flatmap_filter=[MOVE]), "allow": ["a"]}, "flatmap_filter", "are ignored"),
    ],
)
def test_traps_of_proxy_on_a_backend_are_warnings(
    keys: dict[str, Any], path: str, word: str
) -> None:
    [(where, text)] = proxy_findings({}, {}, keys).items()
    assert (where, word in text) == (f"backend[1].extra_config.proxy.{path}", True)


@pytest.mark.parametrize(
    ("is_sequential", "pattern", "is_warned"),
    [
        (True, "/{resp0_a}", False),
        (True, "/{resp1_a}", True),
        (True, "/{resp7_a}", True),
        (False, "/{resp0_a}", True),
    ],
)
def test_a_reference_to_a_response_that_is_not_earlier_is_a_warning(
    is_sequential: bool, pattern: str, is_warned: bool
) -> None:
    found = proxy_findings({"sequential": is_sequential}, {}, {"url_pattern": pattern})
    assert found.keys() == ({"backend[1].url_pattern"} if is_warned else set())
