"""Every component there is, in order: the composition root."""

from __future__ import annotations

from .amqp.consumer import build_consumer
from .amqp.settings import CONSUMER_OURS, ConsumerSettings
from .assembly import Catalog, Component
from .config.proxy import NAMESPACE as PROXY
from .config.proxy import ProxySettings
from .config.structs import GatewaySettings, RouterSettings

CATALOG: Catalog = (
    Component(
        namespace="backend/amqp/consumer",
        aliases=("github.com/devopsfaith/krakend-amqp/consume",),
        settings=ConsumerSettings,
        ours=CONSUMER_OURS,
        backend=build_consumer,
    ),
    Component(
        namespace=PROXY,
        aliases=("github.com/devopsfaith/krakend/proxy",),
        settings=ProxySettings,
        read_on=frozenset({"endpoint", "agent", "backend"}),
    ),
    Component(
        namespace="router",
        aliases=("github_com/luraproject/lura/router/gin",),
        settings=RouterSettings,
        service=True,
    ),
    Component(namespace="gateway", settings=GatewaySettings, service=True),
)
