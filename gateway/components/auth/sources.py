"""The key sources of a validator: its file and URLs, or the origins of ``jwk-aggregator``. Pure.

In KrakenD Enterprise ``jwk-aggregator`` is a server plugin that listens on a port of this machine.
Here a ``jwk_url`` with this port means the origins themselves, and nothing listens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, convert
from msgspec.structs import replace

from ...config.findings import Finding
from ...config.structs import Service
from ...config.unsupported import AGGREGATOR, plugin_names
from ...core.component import Component, Place
from ...http.targets import parse_url
from .settings import KeySettings, ValidatorSettings

HTTP_PLUGINS = "plugin/http-server"

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class AggregatorSettings(Struct, frozen=True, kw_only=True):
    """``jwk-aggregator``."""

    port: int = 0
    """A `jwk_url` with this port on this machine means all `origins`."""
    origins: tuple[str, ...] = ()
    """URLs of JWK Sets. One with `https://` must have a trusted certificate."""
    cache: bool = False
    """Accepted for KrakenD; no effect."""


class PluginSettings(Struct, frozen=True):
    """``plugin/http-server``."""

    config: Any = None
    """The settings of the plugins by their names; `name` lists those that are on. Only
    `jwk-aggregator` is read."""

    @property
    def names(self) -> tuple[str, ...]:
        """The plugins that are on."""
        config = self.config if isinstance(self.config, Mapping) else {}
        return plugin_names(config)

    @property
    def aggregator(self) -> AggregatorSettings | None:
        """None: it is off. Raises ValueError."""
        if AGGREGATOR not in self.names:
            return None
        return convert(self.config.get(AGGREGATOR, {}), AggregatorSettings, strict=False)


def verify_plugins(settings: PluginSettings) -> Iterator[tuple[str, str]]:
    try:
        for origin in settings.aggregator.origins if settings.aggregator else ():
            parse_url(origin)
    except ValueError as error:
        yield AGGREGATOR, str(error)


def find_sources(settings: ValidatorSettings, service: Service) -> Iterator[KeySettings]:
    """The sources of a validator, one in each settings. Raises ValueError for an invalid URL."""
    if settings.jwk_local_path:
        yield replace(settings, jwk_url="", jwk_urls=())
    for url in settings.urls:
        origins = find_origins(url, service)
        if origins is None:
            yield replace(settings, jwk_url=url, jwk_urls=(), jwk_local_path="")
        else:
            yield from (_origin(each) for each in origins)


def _origin(url: str) -> KeySettings:
    """As for the plugin: TLS is verified, and "http://" means no TLS."""
    return KeySettings(jwk_url=url, disable_jwk_security=not url.startswith("https://"))


def find_origins(url: str, service: Service) -> tuple[str, ...] | None:
    """The origins of a URL of the aggregator; None: it is another URL. Raises ValueError."""
    plugins: PluginSettings = service.extra_config.get(HTTP_PLUGINS) or PluginSettings()
    aggregator = plugins.aggregator
    if aggregator is None:
        return None
    origin = parse_url(url)[0].origin
    is_aggregator = origin.host in LOCAL_HOSTS and origin.port == aggregator.port
    return aggregator.origins if is_aggregator else None


def findings(settings: PluginSettings, place: Place) -> Iterator[Finding]:
    """For ``jwk-aggregator``; the loader warns of other plugins."""
    if (aggregator := settings.aggregator) is not None:
        text = (
            f"nothing listens on port {aggregator.port}: validators that name it fetch the keys of "
            "the origins directly"
        )
        yield place.warning(text, AGGREGATOR)


COMPONENT = Component(
    HTTP_PLUGINS,
    PluginSettings,
    aliases=("github_com/devopsfaith/krakend/transport/http/server/handler",),
    whole="config",
    verify=verify_plugins,
    service=True,
    findings=findings,
)
