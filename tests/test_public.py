"""What programs import. A name that moves from here is a change for CHANGELOG.md."""

from __future__ import annotations

from importlib import import_module

import pytest

import gateway

PUBLIC = {
    "gateway": (
        *("CATALOG", "ASGIApp", "Catalog", "Component", "ConfigError", "Finding", "Gateway"),
        *("GatewayError", "Loaded", "Place", "load", "open_gateway", "with_lifespan"),
    ),
    "gateway.hooks": ("GatewayError", "Headers", "HookRequest", "HookResponse", "Refused"),
    "gateway.server": ("Limits", "ServeSettings", "serve", "serve_settings"),
}


ALIASES = {"ASGIApp"}
"""Types that cannot have a docstring."""


@pytest.mark.parametrize("module", PUBLIC)
def test_each_public_name_can_be_imported_and_is_explained(module: str) -> None:
    found = import_module(module)
    assert tuple(found.__all__) == PUBLIC[module]
    for name in found.__all__:
        assert getattr(found, name).__doc__ or name in ALIASES, name


def test_a_configuration_can_be_loaded_without_opening_it() -> None:
    endpoint = {"endpoint": "/a", "backend": [{"host": ["http://b.test"], "url_pattern": "/"}]}
    loaded = gateway.load({"version": 3, "endpoints": [endpoint]})
    assert [each.endpoint for each in loaded.service.endpoints] == ["/a"]
    with pytest.raises(gateway.ConfigError, match="endpoints"):
        gateway.load({"version": 3, "endpoints": 5})
