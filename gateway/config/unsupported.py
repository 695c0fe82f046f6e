"""Namespaces of KrakenD's two editions that this gateway does not support, and what to use instead.
Pure. A namespace that is in the catalogue is never looked up here.
"""

from __future__ import annotations

from collections.abc import Mapping

SECURITY = ("auth/", "validation/", "security/http", "security/bot-detector", "security/policies")
"""Without these settings a request could pass that must not. A missing one stops the start."""

OUTGOING = ("auth/aws-sigv4", "auth/gcp", "auth/ntlm")
"""Credentials of the gateway for a backend. Without them the backend refuses the request."""

WITHOUT_EFFECT = frozenset({"auth/jwk-client"})
"""KrakenD's documentation has it, but no edition of KrakenD reads it."""

PLUGINS = ("plugin/http-server", "plugin/req-resp-modifier", "plugin/middleware")
"""Kinds of Go plugins that may refuse requests."""
AGGREGATOR = "jwk-aggregator"
"""The plugin of ``plugin/http-server`` at the root that the gateway implements itself."""
IGNORE = "ignore_plugins"
"""The key of ``gateway`` at the root: names of plugins that the configuration may run without."""

LEGACY: Mapping[str, str] = {
    "github_com/devopsfaith/krakend/transport/http/server/handler": "plugin/http-server",
    "github.com/devopsfaith/krakend/transport/http/client/executor": "plugin/http-client",
    "github.com/devopsfaith/krakend/proxy/plugin": "plugin/req-resp-modifier",
    "github.com/devopsfaith/krakend-lambda": "backend/lambda",
    "github.com/devopsfaith/krakend-pubsub/publisher": "backend/pubsub/publisher",
    "github.com/devopsfaith/krakend-pubsub/subscriber": "backend/pubsub/subscriber",
    "github.com/devopsfaith/krakend/transport/http/client/graphql": "backend/graphql",
    "github_com/letgoapp/krakend-influx": "telemetry/influx",
}
"""Old names of unsupported namespaces, and their names today (krakend-ce, cmd/krakend-ce/main.go).
Those of supported ones are in the rows of the catalogue."""

VERSION_1_NAMES = {
    "github.com/devopsfaith/krakend-ratelimit/juju/router": "qos/ratelimit/router",
    "github.com/devopsfaith/krakend-ratelimit/juju/proxy": "qos/ratelimit/proxy",
}
"""Names of KrakenD 1, which KrakenD 2 does not read, and the namespaces that they are today."""

PLAIN_HTTP = "the backend is called over plain HTTP; "
NO_PLUGINS = "write it in Python (gateway/python)"

INSTEAD: Mapping[str, str] = {
    "documentation/": "",
    "ai/": "use an HTTP backend",
    "async/kafka": "the only broker is RabbitMQ: async/amqp",
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
    "messaging/": "the only broker is RabbitMQ: backend/amqp/consumer, backend/amqp/producer",
    "modifier/request-body-extractor": "use gateway/python",
    "modifier/response-body": "use allow, deny, mapping and flatmap_filter, or gateway/python",
    "modifier/response-headers": "use modifier/martian",
    "plugin/": "Go plugins cannot be loaded; " + NO_PLUGINS,
    "qos/circuit-breaker/http": "use qos/circuit-breaker",
    "qos/tiered": "use qos/ratelimit/tiered",
    "security/policies": "use validation/cel",
    "server/static-filesystem": "use a web server",
    "server/virtualhost": "run a gateway for each host",
    "telemetry/": "for metrics use telemetry/opentelemetry",
    "websocket": "clients can wait for messages (wait of backend/amqp/consumer)",
    "workflow": "use proxy.sequential",
}
"""What to use instead, by the beginning of a name; the longest beginning counts. Empty: the
namespace is for other tools, so nothing is reported."""


def instead(name: str) -> str | None:
    """What to use instead. None for a name that KrakenD does not know either."""
    fits = [each for each in INSTEAD if name == each or name.startswith(each.rstrip("/") + "/")]
    return INSTEAD[max(fits, key=len)] if fits else None


def plugin_names(settings: Mapping[str, object]) -> tuple[str, ...]:
    """The names of the plugins that ``settings`` enables."""
    names = settings.get("name", ())
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list | tuple):
        return ()
    return tuple(each for each in listed if isinstance(each, str))


def is_security(name: str) -> bool:
    """Whether requests could pass that must not when this namespace is ignored."""
    is_outgoing = name.startswith(OUTGOING)
    return name.startswith(SECURITY) and not is_outgoing and name not in WITHOUT_EFFECT
