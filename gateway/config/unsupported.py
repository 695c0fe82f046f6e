"""KrakenD's namespaces that are not here, of both editions, and what to use instead. Pure.

A namespace that a row of the catalogue knows is never looked up here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DOORS = ("auth/", "validation/", "security/http", "security/bot-detector", "security/policies")
"""Without these a request would pass that should not: not to have one stops the start."""

OUTGOING = ("auth/aws-sigv4", "auth/gcp", "auth/ntlm")
"""What shows the gateway to a backend: without it the backend refuses."""

UNREAD = frozenset({"auth/jwk-client"})
"""KrakenD's documentation has it, and no edition reads it: it guards nothing."""

PLUGINS = ("plugin/http-server", "plugin/req-resp-modifier", "plugin/middleware")
"""Plugins of these kinds may refuse requests."""
AGGREGATOR = "jwk-aggregator"
"""The plugin whose work the gateway does, of ``plugin/http-server`` at the root."""
IGNORE = "ignore_plugins"
"""The key of ``gateway`` at the root that names the plugins that are dispensable."""

LEGACY: Mapping[str, str] = {
    "github_com/devopsfaith/krakend/transport/http/server/handler": "plugin/http-server",
    "github.com/devopsfaith/krakend/transport/http/client/executor": "plugin/http-client",
    "github.com/devopsfaith/krakend/proxy/plugin": "plugin/req-resp-modifier",
    "github.com/devopsfaith/krakend-httpcache": "qos/http-cache",
    "github.com/devopsfaith/krakend-circuitbreaker/gobreaker": "qos/circuit-breaker",
    "github.com/devopsfaith/krakend-oauth2-clientcredentials": "auth/client-credentials",
    "github.com/devopsfaith/krakend-jose/validator": "auth/validator",
    "github.com/devopsfaith/krakend-jose/signer": "auth/signer",
    "github_com/devopsfaith/bloomfilter": "auth/revoker",
    "github_com/devopsfaith/krakend-botdetector": "security/bot-detector",
    "github_com/devopsfaith/krakend-httpsecure": "security/http",
    "github_com/devopsfaith/krakend-cors": "security/cors",
    "github.com/devopsfaith/krakend-cel": "validation/cel",
    "github.com/devopsfaith/krakend-jsonschema": "validation/json-schema",
    "github.com/devopsfaith/krakend-lambda": "backend/lambda",
    "github.com/devopsfaith/krakend-pubsub/publisher": "backend/pubsub/publisher",
    "github.com/devopsfaith/krakend-pubsub/subscriber": "backend/pubsub/subscriber",
    "github.com/devopsfaith/krakend/transport/http/client/graphql": "backend/graphql",
    "github_com/devopsfaith/krakend-gelf": "telemetry/gelf",
    "github_com/devopsfaith/krakend-gologging": "telemetry/logging",
    "github_com/devopsfaith/krakend-logstash": "telemetry/logstash",
    "github_com/devopsfaith/krakend-metrics": "telemetry/metrics",
    "github_com/letgoapp/krakend-influx": "telemetry/influx",
    "github_com/devopsfaith/krakend-opencensus": "telemetry/opencensus",
    "github.com/devopsfaith/krakend-lua/router": "modifier/lua-endpoint",
    "github.com/devopsfaith/krakend-lua/proxy": "modifier/lua-proxy",
    "github.com/devopsfaith/krakend-lua/proxy/backend": "modifier/lua-backend",
    "github.com/devopsfaith/krakend-martian": "modifier/martian",
}
"""Old names and what they mean today. (krakend-ce, cmd/krakend-ce/main.go)"""

OF_VERSION_1 = {
    "github.com/devopsfaith/krakend-ratelimit/juju/router": "qos/ratelimit/router",
    "github.com/devopsfaith/krakend-ratelimit/juju/proxy": "qos/ratelimit/proxy",
}
"""Names that KrakenD 2 does not read, and what they were."""

PLAIN_HTTP = "the backend is asked over plain HTTP; "
NO_PLUGINS = "Go plugins cannot be loaded; write it in Python (gateway/python)"
LOGS = "the log goes to the standard error, and from there to where you send it"

INSTEAD: Mapping[str, str] = {
    "documentation/": "",
    "ai/": "use an HTTP backend",
    "async/kafka": "RabbitMQ is what is spoken: async/amqp",
    "auth/aws-sigv4": "use a proxy that signs, such as aws-sigv4-proxy",
    "auth/gcp": "use auth/client-credentials",
    "auth/jwk-client": "KrakenD does not read it; shared_cache_duration is a key of auth/validator",
    "auth/ntlm": "use a proxy that speaks NTLM",
    "backend/conditional": "use several endpoints, or validation/cel on each backend",
    "backend/graphql": PLAIN_HTTP + "send the query as a body",
    "backend/grpc": PLAIN_HTTP + "use a proxy from REST to gRPC",
    "backend/lambda": PLAIN_HTTP + "give the function a URL",
    "backend/pubsub/publisher": PLAIN_HTTP + "for RabbitMQ use backend/amqp/producer",
    "backend/pubsub/subscriber": PLAIN_HTTP + "for RabbitMQ use backend/amqp/consumer",
    "backend/soap": PLAIN_HTTP + "use encoding xml",
    "backend/static-filesystem": PLAIN_HTTP + "use a web server",
    "governance/": "use qos/ratelimit/router or qos/ratelimit/proxy",
    "grpc": "use a proxy from gRPC to REST",
    "messaging/": "RabbitMQ is what is spoken: backend/amqp/consumer, backend/amqp/producer",
    "modifier/request-body-extractor": "use gateway/python",
    "modifier/response-body": "use allow, deny, mapping and flatmap_filter, or gateway/python",
    "modifier/response-headers": "use modifier/martian",
    "plugin/": NO_PLUGINS,
    "qos/circuit-breaker/http": "use qos/circuit-breaker",
    "qos/tiered": "use qos/ratelimit/tiered",
    "security/policies": "use validation/cel",
    "server/static-filesystem": "use a web server",
    "server/virtualhost": "run a gateway for each host",
    "telemetry/": "there are no metrics and no traces; /__health and /__ready tell of the gateway",
    "telemetry/gelf": LOGS,
    "telemetry/logging": LOGS,
    "telemetry/logstash": LOGS,
    "websocket": "clients can wait for messages (wait of backend/amqp/consumer)",
    "workflow": "use proxy.sequential",
}
"""By the beginning of a name, the longest counts; nothing to say of what is for other tools."""


def instead(name: str) -> str | None:
    """What to use; None for a name that KrakenD does not know either."""
    fits = [each for each in INSTEAD if name == each or name.startswith(each.rstrip("/") + "/")]
    return INSTEAD[max(fits, key=len)] if fits else None


def plugin_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The plugins that are on."""
    names = settings.get("name", ())
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list | tuple):
        return ()
    return tuple(each for each in listed if isinstance(each, str))


def is_door(name: str) -> bool:
    """Whether a request would pass that should not."""
    return name.startswith(DOORS) and not name.startswith(OUTGOING) and name not in UNREAD
