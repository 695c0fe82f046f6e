"""An HTTP gateway for RabbitMQ that speaks KrakenD's configuration.

async with open_gateway("krakend.json") as gateway:
    ...  # serve gateway.asgi
"""

from .assembly import Catalog
from .config.findings import ConfigError
from .config.load import load
from .errors import GatewayError
from .service import Gateway, open_gateway

__all__ = ["Catalog", "ConfigError", "Gateway", "GatewayError", "load", "open_gateway"]
