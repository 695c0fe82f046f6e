"""An HTTP gateway for RabbitMQ that speaks KrakenD's configuration.

async with open_gateway("krakend.json") as gateway:
    ...  # serve gateway.asgi
"""

from .app.service import Gateway, open_gateway
from .config.findings import ConfigError
from .config.load import load
from .core.component import Catalog
from .errors import GatewayError

__all__ = ["Catalog", "ConfigError", "Gateway", "GatewayError", "load", "open_gateway"]
