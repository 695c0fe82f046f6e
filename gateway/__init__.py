"""An HTTP gateway for RabbitMQ that speaks KrakenD's configuration.

async with open_gateway("krakend.json") as gateway:
    ...  # serve gateway.asgi

Programs import from here, from :mod:`gateway.server` and from :mod:`gateway.hooks`; everything else
may move.
"""

from .app.catalog import CATALOG
from .app.service import Gateway, load, open_gateway
from .config.findings import ConfigError, Finding
from .config.load import Loaded
from .core.asgi import ASGIApp
from .core.component import Catalog, Component, Place
from .errors import GatewayError
from .router.lifespan import with_lifespan

__all__ = [
    "CATALOG",
    "ASGIApp",
    "Catalog",
    "Component",
    "ConfigError",
    "Finding",
    "Gateway",
    "GatewayError",
    "Loaded",
    "Place",
    "load",
    "open_gateway",
    "with_lifespan",
]
