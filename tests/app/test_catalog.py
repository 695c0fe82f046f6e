"""The catalogue: orders that are complete, and a namespace that is one module and one row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from gateway.app.audit import audit
from gateway.app.build import build_pipe
from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.config.findings import Finding
from gateway.config.load import load
from gateway.config.structs import Endpoint, Own, Service
from gateway.core.bridge import open_asyncio_side
from gateway.core.component import Assembly, Component, Components, Place
from gateway.core.families import BrokerSettings, RateLimitSettings
from gateway.core.proxy import P, Request, Stage
from gateway.core.rule import Rule
from gateway.errors import GatewayError
from gateway.http.backend import may_stream
from tests.namespaces import PATH, reference

ORDERS: dict[str, Components] = {
    "guard": CATALOG.guards,
    "backend_stage": CATALOG.backend_stages,
    "transport": CATALOG.transports,
    "endpoint_stage": CATALOG.endpoint_stages,
    "layer": CATALOG.layers,
    "handler_layer": CATALOG.layers,
}


# A namespace as anybody would write it: one module ...


class ToySettings(Struct, frozen=True, kw_only=True):
    """``modifier/toy``: puts nothing around a pipe."""

    word: str = ""
    """The word that the toy says."""
    loud: Own[bool] = False
    """Say it in capital letters."""


def build_toy(settings: ToySettings, endpoint: Endpoint, assembly: Assembly) -> Stage:
    def timed_out(request: Request) -> GatewayError:
        return GatewayError(f"toy {settings.word}")

    def stage(pipe: P, /) -> P:
        return replace(pipe, timed_out=timed_out)

    return stage


def findings(settings: ToySettings, place: Place) -> Iterator[Finding]:
    if not settings.word:
        yield place.warning("no word: the toy says nothing", "word")


def _places(service: Service) -> Iterator[str]:
    for number, endpoint in enumerate(service.endpoints):
        if "modifier/toy" in endpoint.extra_config:
            yield f"$.endpoints[{number}]"


TOY = Component(
    "modifier/toy",
    ToySettings,
    aliases=("github.com/old/toy",),
    endpoint_stage=build_toy,
    passes_bodies=True,
    findings=findings,
    advice=(Rule("9.9.9", "LOW", "Do not use toys in production.", _places),),
)

# ... and one row.
WITH_TOY = CATALOG.extended(TOY)


def document(**settings: Any) -> dict[str, Any]:
    return {
        "version": 3,
        "endpoints": [
            {
                "endpoint": "/a",
                "output_encoding": "no-op",
                "backend": [{"host": ["http://b.test"], "url_pattern": "/", "encoding": "no-op"}],
                "extra_config": {"github.com/old/toy": settings},
            }
        ],
    }


@pytest.mark.parametrize("builder", ORDERS)
def test_each_order_has_every_component_of_its_kind_once(builder: str) -> None:
    asked = [row for row in CATALOG if getattr(row, builder) is not None]
    found = [row for row in ORDERS[builder] if getattr(row, builder) is not None]
    assert {row.namespace for row in asked} == {row.namespace for row in found}
    assert len(asked) == len(found)


def test_no_name_is_that_of_two_components() -> None:
    names = [name for row in CATALOG for name in (row.namespace, *row.aliases)]
    assert len(names) == len(set(names))


def test_a_row_is_found_by_the_loader_under_its_legacy_name() -> None:
    [endpoint] = load(document(word="hi"), WITH_TOY, {}).service.endpoints
    assert endpoint.extra_config == {"modifier/toy": ToySettings(word="hi")}


def test_a_row_is_found_by_check_with_its_own_keys() -> None:
    service = load(document(loud=True), WITH_TOY, {}).service
    path = '$.endpoints[0].extra_config["modifier/toy"]'
    assert [*check(service, WITH_TOY)] == [
        Finding(f"{path}.word", "warning", "no word: the toy says nothing"),
        Finding(path, "hint", "only this gateway knows: loud"),
    ]


def test_a_row_is_found_by_audit() -> None:
    found = [each for each in audit(load(document(), WITH_TOY, {}), WITH_TOY) if "9.9" in each.rule]
    assert [each.paths for each in found] == [("$.endpoints[0]",)]


def test_a_row_counts_for_the_rules_about_its_family() -> None:
    class ToyLimitSettings(RateLimitSettings, Struct, frozen=True):
        pass

    row = Component("modifier/toy", ToyLimitSettings, TOY.aliases, read_on=frozenset({"endpoint"}))
    for catalog, is_missing in ((WITH_TOY, True), (CATALOG.extended(row), False)):
        found = {each.rule for each in audit(load(document(), catalog, {}), catalog)}
        assert ("3.1.2" in found) == is_missing


def test_backends_that_are_not_http_have_settings_of_that_family() -> None:
    for row in CATALOG:
        assert issubclass(row.settings, BrokerSettings) == row.knows("source"), row.namespace


def test_a_row_is_found_by_the_reference_of_keys() -> None:
    text = reference(WITH_TOY)
    assert "## `modifier/toy`" in text
    assert "| `loud` | boolean | `false` | *Extension.* Say it in capital letters. |" in text


def test_the_reference_of_keys_is_current() -> None:
    """If not: python -m tests.namespaces"""
    assert PATH.read_text(encoding="utf-8") == reference(CATALOG)


@pytest.mark.anyio
async def test_a_row_is_built_and_passes_a_streamed_body() -> None:
    service = load(document(word="hi"), WITH_TOY, {}).service
    [endpoint] = service.endpoints
    async with open_asyncio_side() as side:
        assembly = Assembly(service, WITH_TOY, side)
        pipe = build_pipe(endpoint, assembly)
        assert str(pipe.timed_out(Request("GET", "/", {}))) == "toy hi"
        assert may_stream(endpoint.backend[0], endpoint, assembly)
