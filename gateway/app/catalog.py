"""The composition root: every component, and the orders in which they are called."""

from __future__ import annotations

from ..amqp.agent import agent
from ..amqp.consume import consumer
from ..amqp.publish import producer
from ..components import (
    body_generator,
    bots,
    breaker,
    cel,
    cors,
    http_cache,
    jmespath,
    json_schema,
    proxy,
    python,
    response_json_schema,
    secure,
    settings,
    stats,
)
from ..components.auth import (
    api_keys,
    basic,
    client_credentials,
    revoker,
    signer,
    sources,
    validator,
)
from ..components.log import gelf, logging_settings, logstash
from ..components.lua import stage as lua
from ..components.martian import stage as martian
from ..components.otel import opencensus, opentelemetry, security
from ..components.ratelimit import build as ratelimit
from ..components.ratelimit import tiers
from ..core.component import Catalog
from ..encoding import DECODERS
from ..http import backend as http
from ..router.render import OUTPUT_ENCODINGS

GUARDS = (
    bots.COMPONENT,
    validator.COMPONENT,
    api_keys.COMPONENT,
    basic.COMPONENT,
    lua.ENDPOINT,
    ratelimit.ROUTER,
    ratelimit.ROUTER_REDIS,
    tiers.COMPONENT,
)
"""First to last."""

BACKEND_STAGES = (
    python.COMPONENT,
    body_generator.REQUEST_GENERATOR,
    jmespath.COMPONENT,
    body_generator.RESPONSE_GENERATOR,
    response_json_schema.COMPONENT,
    cel.COMPONENT,
    lua.BACKEND,
    ratelimit.BACKEND,
    breaker.COMPONENT,
)
"""Inner to outer."""

TRANSPORTS = (
    client_credentials.COMPONENT,
    http_cache.COMPONENT,
    martian.COMPONENT,
)
"""Inner to outer."""

ENDPOINT_STAGES = (
    python.COMPONENT,
    body_generator.REQUEST_GENERATOR,
    jmespath.COMPONENT,
    body_generator.RESPONSE_GENERATOR,
    response_json_schema.COMPONENT,
    json_schema.COMPONENT,
    cel.COMPONENT,
    lua.PROXY,
    lua.ENDPOINT,
    signer.COMPONENT,
)
"""Inner to outer. The signer is the last stage, so that it signs the final response."""

LAYERS = (
    bots.COMPONENT,
    lua.ENDPOINT,
    secure.COMPONENT,
    tiers.COMPONENT,
    ratelimit.SERVICE,
    ratelimit.SERVICE_REDIS,
    cors.COMPONENT,
)
"""Inner to outer. CORS is around everything, so that a browser may read every response."""

COMPONENTS = (
    agent.COMPONENT,
    api_keys.COMPONENT,
    basic.COMPONENT,
    client_credentials.COMPONENT,
    revoker.COMPONENT,
    signer.COMPONENT,
    validator.COMPONENT,
    consumer.COMPONENT,
    producer.COMPONENT,
    http.HTTP,
    http.CLIENT_OPTIONS,
    settings.GATEWAY,
    python.COMPONENT,
    jmespath.COMPONENT,
    lua.BACKEND,
    lua.ENDPOINT,
    lua.PROXY,
    martian.COMPONENT,
    body_generator.REQUEST_GENERATOR,
    body_generator.RESPONSE_GENERATOR,
    sources.COMPONENT,
    proxy.COMPONENT,
    breaker.COMPONENT,
    http_cache.COMPONENT,
    ratelimit.BACKEND,
    ratelimit.ROUTER,
    ratelimit.ROUTER_REDIS,
    ratelimit.SERVICE,
    ratelimit.SERVICE_REDIS,
    tiers.COMPONENT,
    ratelimit.REDIS,
    settings.ROUTER,
    bots.COMPONENT,
    cors.COMPONENT,
    secure.COMPONENT,
    cel.COMPONENT,
    json_schema.COMPONENT,
    response_json_schema.COMPONENT,
    gelf.COMPONENT,
    logging_settings.COMPONENT,
    logstash.COMPONENT,
    stats.COMPONENT,
    opencensus.COMPONENT,
    opentelemetry.COMPONENT,
    security.COMPONENT,
)

CATALOG = Catalog(
    COMPONENTS,
    GUARDS,
    BACKEND_STAGES,
    TRANSPORTS,
    ENDPOINT_STAGES,
    LAYERS,
    encodings=tuple(DECODERS),
    output_encodings=OUTPUT_ENCODINGS,
)
