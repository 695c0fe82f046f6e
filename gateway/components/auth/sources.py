"""Which sources of keys a validator has: its own file and URLs, or those that ``jwk-aggregator``
names at the root. Pure.

In KrakenD Enterprise that is a server plugin which listens on a port of this machine; here whoever
names that port gets the keys of its origins from the origins themselves.
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

PLUGINS = "plugin/http-server"

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


class AggregatorSettings(Struct, frozen=True, kw_only=True):
    """``jwk-aggregator``. ``origins``: URLs of JWK Sets. ``cache`` has no effect."""

    port: int = 0
    origins: tuple[str, ...] = ()
    cache: bool = False


class PluginSettings(Struct, frozen=True):
    """``plugin/http-server``, as it stands: of a plugin that is not here nothing is read."""

    config: Any = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the plugins that are on."""
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
    """The sources of a validator, one in each settings. Raises ValueError for what is no URL."""
    if settings.jwk_local_path:
        yield replace(settings, jwk_url="", jwk_urls=())
    for url in settings.urls:
        origins = find_origins(url, service)
        if origins is None:
            yield replace(settings, jwk_url=url, jwk_urls=(), jwk_local_path="")
        else:
            yield from (_origin(each) for each in origins)


def _origin(url: str) -> KeySettings:
    """As the plugin asks for it: with TLS that is checked, or, if the URL says so, without."""
    return KeySettings(jwk_url=url, disable_jwk_security=not url.startswith("https://"))


def find_origins(url: str, service: Service) -> tuple[str, ...] | None:
    """What a URL of the aggregator stands for; None: it is none. Raises ValueError."""
    plugins: PluginSettings = service.extra_config.get(PLUGINS) or PluginSettings()
    aggregator = plugins.aggregator
    if aggregator is None:
        return None
    origin = parse_url(url)[0].origin
    is_it = origin.host in LOCAL and origin.port == aggregator.port
    return aggregator.origins if is_it else None


def findings(settings: PluginSettings, place: Place) -> Iterator[Finding]:
    """Of the plugin that is here; the loader says of the others that they are not."""
    if (aggregator := settings.aggregator) is not None:
        text = (
            f"nothing listens on port {aggregator.port}: validators that name it have the keys of "
            "its origins, looked at as those of a jwk_url"
        )
        yield place.warning(text, AGGREGATOR)


COMPONENT = Component(
    PLUGINS,
    PluginSettings,
    aliases=("github_com/devopsfaith/krakend/transport/http/server/handler",),
    whole="config",
    verify=verify_plugins,
    service=True,
    findings=findings,
)
