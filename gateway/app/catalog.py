"""Every component there is, in order: the composition root."""

from __future__ import annotations

from ..amqp.agent.agent import build_source
from ..amqp.consume.consumer import build_consumer
from ..amqp.publish.producer import build_producer
from ..amqp.settings import (
    AGENT_OURS,
    CONSUMER_OURS,
    PRODUCER_OURS,
    AgentSettings,
    ConsumerSettings,
    ProducerSettings,
)
from ..amqp.verify import verify_agent, verify_consumer, verify_producer
from ..components.auth.api_keys import NAMESPACE as API_KEYS
from ..components.auth.api_keys import build_api_keys
from ..components.auth.basic import NAMESPACE as BASIC
from ..components.auth.basic import build_basic
from ..components.auth.client_credentials import NAMESPACE as CREDENTIALS
from ..components.auth.client_credentials import build_client_credentials
from ..components.auth.revoker import NAMESPACE as REVOKER
from ..components.auth.revoker import build_revoker
from ..components.auth.settings import (
    REVOKER_OURS,
    VALIDATOR_OURS,
    ApiKeysSettings,
    BasicSettings,
    ClientCredentialsSettings,
    RevokerSettings,
    SignerSettings,
    ValidatorSettings,
)
from ..components.auth.signer import NAMESPACE as SIGNER
from ..components.auth.signer import build_signer
from ..components.auth.sources import PLUGINS, PluginSettings, verify_plugins
from ..components.auth.validator import NAMESPACE as VALIDATOR
from ..components.auth.validator import build_validator
from ..components.auth.verify import (
    verify_api_keys,
    verify_basic,
    verify_client_credentials,
    verify_revoker,
    verify_signer,
    verify_validator,
)
from ..components.body_generator import (
    GeneratorSettings,
    build_backend_request_generator,
    build_backend_response_generator,
    build_request_generator,
    build_response_generator,
    verify_generator,
)
from ..components.bots import BotSettings, build_bot_guard, build_bot_layer, verify_bots
from ..components.breaker import BREAKER_OURS, BreakerSettings, build_breaker
from ..components.cel import (
    CelSettings,
    build_backend_cel,
    build_endpoint_cel,
    build_token_cel,
    verify_cel,
)
from ..components.cors import CorsSettings, build_cors
from ..components.http_cache import CacheSettings, build_cache
from ..components.jmespath import (
    JmespathSettings,
    build_backend_jmespath,
    build_endpoint_jmespath,
    verify_jmespath,
)
from ..components.json_schema import JsonSchemaSettings, build_json_schema, verify_json_schema
from ..components.lua.scripts import LUA_OURS, LuaSettings, verify_lua
from ..components.lua.stage import (
    build_lua_backend,
    build_lua_endpoint,
    build_lua_guard,
    build_lua_layer,
    build_lua_proxy,
)
from ..components.martian.stage import MartianSettings, build_martian, verify_martian
from ..components.python import (
    PythonSettings,
    build_backend_hooks,
    build_endpoint_hooks,
    verify_python,
)
from ..components.ratelimit.build import (
    build_backend_limit,
    build_router_limit,
    build_service_limit,
    build_shared_router_limit,
    build_shared_service_limit,
)
from ..components.ratelimit.settings import (
    LIMIT_OURS,
    BackendLimitSettings,
    LimitSettings,
    RedisSettings,
    SharedLimitSettings,
    verify_limits,
)
from ..components.ratelimit.tiers import NAMESPACE as TIERED
from ..components.ratelimit.tiers import (
    TieredSettings,
    build_router_tiers,
    build_service_tiers,
    verify_tiers,
)
from ..components.response_json_schema import (
    ResponseSchemaSettings,
    build_backend_response_schema,
    build_endpoint_response_schema,
    verify_response_schema,
)
from ..components.secure import SecureSettings, build_secure, verify_secure
from ..config.proxy import NAMESPACE as PROXY
from ..config.proxy import ProxySettings
from ..config.structs import GatewaySettings, RouterSettings
from ..core.component import Catalog, Component
from ..http.backend import CLIENT, build_http
from ..http.settings import HttpClientSettings, HttpSettings

CATALOG: Catalog = (
    # First of the guards, and the innermost of the layers.
    Component(
        namespace="security/bot-detector",
        aliases=("github_com/devopsfaith/krakend-botdetector",),
        settings=BotSettings,
        verify=verify_bots,
        guard=build_bot_guard,
        handler_layer=build_bot_layer,
    ),
    Component(
        namespace=VALIDATOR,
        aliases=("github.com/devopsfaith/krakend-jose/validator",),
        settings=ValidatorSettings,
        ours=VALIDATOR_OURS,
        verify=verify_validator,
        guard=build_validator,
        service=True,
        root_keys=frozenset({"shared_cache_duration"}),
    ),
    Component(
        namespace=PLUGINS,
        aliases=("github_com/devopsfaith/krakend/transport/http/server/handler",),
        settings=PluginSettings,
        whole="config",
        verify=verify_plugins,
        service=True,
    ),
    Component(
        namespace=API_KEYS,
        aliases=("github_com/devopsfaith/krakend-apikeys",),
        settings=ApiKeysSettings,
        verify=verify_api_keys,
        guard=build_api_keys,
        service=True,
    ),
    Component(
        namespace=BASIC,
        settings=BasicSettings,
        verify=verify_basic,
        guard=build_basic,
        service=True,
    ),
    Component(
        namespace=REVOKER,
        aliases=("github_com/devopsfaith/bloomfilter",),
        settings=RevokerSettings,
        ours=REVOKER_OURS,
        verify=verify_revoker,
        management=build_revoker,
    ),
    Component(
        namespace=CREDENTIALS,
        aliases=("github.com/devopsfaith/krakend-oauth2-clientcredentials",),
        settings=ClientCredentialsSettings,
        verify=verify_client_credentials,
        transport=build_client_credentials,
        leaves_bodies=True,
    ),
    Component(
        namespace="backend/amqp/consumer",
        aliases=("github.com/devopsfaith/krakend-amqp/consume",),
        settings=ConsumerSettings,
        ours=CONSUMER_OURS,
        verify=verify_consumer,
        backend=build_consumer,
    ),
    Component(
        namespace="backend/amqp/producer",
        aliases=("github.com/devopsfaith/krakend-amqp/produce",),
        settings=ProducerSettings,
        ours=PRODUCER_OURS,
        verify=verify_producer,
        backend=build_producer,
    ),
    Component(
        namespace="async/amqp",
        aliases=("github.com/devopsfaith/krakend-amqp/agent",),
        settings=AgentSettings,
        ours=AGENT_OURS,
        verify=verify_agent,
        agent=build_source,
    ),
    Component(
        namespace="backend/http",
        aliases=("github.com/devopsfaith/krakend/http",),
        settings=HttpSettings,
        backend=build_http,
        is_default=True,
    ),
    Component(namespace=CLIENT, settings=HttpClientSettings, read_on=frozenset({"backend"})),
    Component(
        namespace="qos/http-cache",
        aliases=("github.com/devopsfaith/krakend-httpcache",),
        settings=CacheSettings,
        transport=build_cache,
    ),
    Component(
        namespace="modifier/martian",
        aliases=("github.com/devopsfaith/krakend-martian",),
        settings=MartianSettings,
        whole="document",
        verify=verify_martian,
        transport=build_martian,
    ),
    Component(
        namespace="gateway/python",
        settings=PythonSettings,
        verify=verify_python,
        backend_stage=build_backend_hooks,
        endpoint_stage=build_endpoint_hooks,
    ),
    Component(
        namespace=PROXY,
        aliases=("github.com/devopsfaith/krakend/proxy",),
        settings=ProxySettings,
        read_on=frozenset({"endpoint", "agent", "backend"}),
    ),
    Component(
        namespace="modifier/request-body-generator",
        aliases=("modifier/body-generator",),
        settings=GeneratorSettings,
        verify=verify_generator,
        backend_stage=build_backend_request_generator,
        endpoint_stage=build_request_generator,
        leaves_bodies=True,
    ),
    Component(
        namespace="modifier/jmespath",
        settings=JmespathSettings,
        verify=verify_jmespath,
        backend_stage=build_backend_jmespath,
        endpoint_stage=build_endpoint_jmespath,
    ),
    Component(
        namespace="modifier/response-body-generator",
        settings=GeneratorSettings,
        verify=verify_generator,
        backend_stage=build_backend_response_generator,
        endpoint_stage=build_response_generator,
    ),
    Component(
        namespace="validation/response-json-schema",
        settings=ResponseSchemaSettings,
        verify=verify_response_schema,
        backend_stage=build_backend_response_schema,
        endpoint_stage=build_endpoint_response_schema,
    ),
    Component(
        namespace="validation/json-schema",
        aliases=("github.com/devopsfaith/krakend-jsonschema",),
        settings=JsonSchemaSettings,
        whole="schema",
        verify=verify_json_schema,
        endpoint_stage=build_json_schema,
        leaves_bodies=True,
    ),
    Component(
        namespace="validation/cel",
        aliases=("github.com/devopsfaith/krakend-cel",),
        settings=CelSettings,
        whole="expressions",
        verify=verify_cel,
        backend_stage=build_backend_cel,
        endpoint_stage=build_endpoint_cel,
        leaves_bodies=True,
        token_check=build_token_cel,
    ),
    Component(
        namespace="modifier/lua-backend",
        aliases=("github.com/devopsfaith/krakend-lua/proxy/backend",),
        settings=LuaSettings,
        ours=LUA_OURS,
        verify=verify_lua,
        backend_stage=build_lua_backend,
    ),
    Component(
        namespace="modifier/lua-proxy",
        aliases=("github.com/devopsfaith/krakend-lua/proxy",),
        settings=LuaSettings,
        ours=LUA_OURS,
        verify=verify_lua,
        endpoint_stage=build_lua_proxy,
    ),
    Component(
        namespace="modifier/lua-endpoint",
        aliases=("github.com/devopsfaith/krakend-lua/router",),
        settings=LuaSettings,
        ours=LUA_OURS,
        verify=verify_lua,
        guard=build_lua_guard,
        endpoint_stage=build_lua_endpoint,
        handler_layer=build_lua_layer,
    ),
    # Around the bots and the scripts of the service.
    Component(
        namespace="security/http",
        aliases=("github_com/devopsfaith/krakend-httpsecure",),
        settings=SecureSettings,
        verify=verify_secure,
        handler_layer=build_secure,
    ),
    Component(
        namespace="qos/ratelimit/proxy",
        settings=BackendLimitSettings,
        backend_stage=build_backend_limit,
        leaves_bodies=True,
    ),
    Component(
        namespace="qos/circuit-breaker",
        aliases=("github.com/devopsfaith/krakend-circuitbreaker/gobreaker",),
        settings=BreakerSettings,
        ours=BREAKER_OURS,
        backend_stage=build_breaker,
        leaves_bodies=True,
    ),
    Component(
        namespace="qos/ratelimit/router",
        settings=LimitSettings,
        ours=LIMIT_OURS,
        verify=verify_limits,
        guard=build_router_limit,
    ),
    Component(
        namespace="qos/ratelimit/router/redis",
        settings=SharedLimitSettings,
        ours=LIMIT_OURS,
        verify=verify_limits,
        guard=build_shared_router_limit,
    ),
    Component(
        namespace=TIERED,
        settings=TieredSettings,
        verify=verify_tiers,
        guard=build_router_tiers,
        layer=build_service_tiers,
    ),
    Component(
        namespace="qos/ratelimit/service",
        settings=LimitSettings,
        ours=LIMIT_OURS,
        verify=verify_limits,
        layer=build_service_limit,
    ),
    Component(
        namespace="qos/ratelimit/service/redis",
        settings=SharedLimitSettings,
        ours=LIMIT_OURS,
        verify=verify_limits,
        layer=build_shared_service_limit,
    ),
    Component(namespace="redis", settings=RedisSettings, service=True),
    # The outermost layer: whatever answers, a browser may read it.
    Component(
        namespace="security/cors",
        aliases=("github_com/devopsfaith/krakend-cors",),
        settings=CorsSettings,
        layer=build_cors,
    ),
    Component(
        namespace="router",
        aliases=("github_com/luraproject/lura/router/gin",),
        settings=RouterSettings,
        service=True,
    ),
    Component(namespace="gateway", settings=GatewaySettings, service=True),
    # Around every other stage of an endpoint: what it signs is the whole answer.
    Component(
        namespace=SIGNER,
        aliases=("github.com/devopsfaith/krakend-jose/signer",),
        settings=SignerSettings,
        verify=verify_signer,
        endpoint_stage=build_signer,
    ),
)
