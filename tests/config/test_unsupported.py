"""Unsupported namespaces: which are reported, and which stop the start."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.app.audit import rules
from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.config.findings import ConfigError, Finding
from gateway.config.load import load
from gateway.config.structs import GatewaySettings
from gateway.config.unsupported import (
    INSTEAD,
    LEGACY,
    NO_PLUGINS,
    OUTGOING,
    PLUGINS,
    VERSION_1_NAMES,
    instead,
)

KNOWN = {name for row in CATALOG for name in (row.namespace, *row.aliases)}
GATEWAY_KEYS = {f"gateway.{key}" for key in GatewaySettings.__struct_fields__}

NAMES = """
ai/mcp auth/api-keys auth/basic auth/revoker auth/validator documentation/openapi
documentation/postman governance/processors governance/quota grpc modifier/lua-endpoint
modifier/request-body-extractor modifier/response-headers plugin/http-server
qos/ratelimit/service qos/ratelimit/service/redis qos/ratelimit/tiered redis router
security/bot-detector security/cors security/http server/static-filesystem server/virtualhost
telemetry/gelf telemetry/influx telemetry/logging telemetry/logstash telemetry/metrics
telemetry/moesif telemetry/newrelic telemetry/opencensus telemetry/opentelemetry
telemetry/opentelemetry-security auth/signer modifier/jmespath modifier/lua-proxy
modifier/request-body-extractor/early modifier/request-body-generator modifier/response-body
modifier/response-body-generator plugin/middleware plugin/req-resp-modifier proxy
qos/ratelimit/router qos/ratelimit/router/redis security/policies validation/cel
validation/json-schema validation/response-json-schema websocket ai/llm auth/aws-sigv4
auth/client-credentials auth/gcp auth/ntlm backend/amqp/consumer backend/amqp/producer
backend/conditional backend/graphql backend/grpc backend/http backend/http/client backend/lambda
backend/pubsub/publisher backend/pubsub/subscriber backend/pubsub/publisher/kafka
backend/pubsub/subscriber/kafka backend/soap backend/static-filesystem modifier/body-generator
modifier/lua-backend modifier/martian plugin/http-client qos/circuit-breaker
qos/circuit-breaker/http qos/http-cache qos/ratelimit/proxy workflow async/amqp async/kafka
"""
EVERY = NAMES.split()
"""Of the schemas of KrakenD 2.13, both editions."""

TO_COME = {"security/cors", "qos/http-cache", "qos/circuit-breaker"}
TO_COME |= {name for name in EVERY if name.startswith(("qos/ratelimit/", "modifier/"))}


def reported(name: str, settings: Any = None) -> list[Finding]:
    extra = {name: {} if settings is None else settings}
    try:
        return list(load({"version": 3, "extra_config": extra}, CATALOG, {}).findings)
    except ConfigError as error:
        return list(error.findings)


@pytest.mark.parametrize(
    "name", [name for name in EVERY if name not in KNOWN | TO_COME and name not in PLUGINS]
)
def test_every_unsupported_namespace_of_krakend_is_reported_with_an_alternative(name: str) -> None:
    found = reported(name)
    if name.startswith("documentation/"):
        assert found == []
    else:
        assert "not supported" in found[0].text
        assert found[0].text.endswith(instead(name) or "nothing")


NAMESPACE = re.compile(r"\b(?:[a-z]+/[a-z][a-z/-]*[a-z]|gateway\.\w+)")


@pytest.mark.parametrize("text", sorted({*INSTEAD.values(), NO_PLUGINS, *VERSION_1_NAMES.values()}))
def test_advice_names_only_what_exists(text: str) -> None:
    for name in NAMESPACE.findall(text):
        assert name in KNOWN or name == "qos/ratelimit", text


def test_no_recommendation_of_audit_names_what_does_not_exist() -> None:
    named = [name for rule in rules(CATALOG) for name in NAMESPACE.findall(rule.message)]
    assert "qos/circuit-breaker" in named
    assert [name for name in named if name not in KNOWN | GATEWAY_KEYS | {"qos/ratelimit"}] == []


@pytest.mark.parametrize("name", ["security/policies", "auth/of-tomorrow", "validation/xml"])
def test_an_unsupported_security_setting_stops_the_start(name: str) -> None:
    assert [each.severity for each in reported(name)] == ["error"]


@pytest.mark.parametrize("name", OUTGOING)
def test_unsupported_credentials_for_backends_do_not_stop_the_start(name: str) -> None:
    assert [each.severity for each in reported(name)] == ["warning"]


def test_a_namespace_that_krakend_does_not_read_is_a_warning() -> None:
    (found,) = reported("auth/jwk-client", {"shared_cache_duration": 15})
    assert found.severity == "warning"
    assert "auth/validator" in found.text


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("auth/validater", "auth/validator"),
        ("github_com/devopsfaith/krakend-jose/validator", "auth/validator"),
        ("validaton/cel", "validation/cel"),
        ("security/bot-detectr", "security/bot-detector"),
    ],
)
def test_a_misspelt_security_setting_stops_the_start_with_the_right_name(
    name: str, meant: str
) -> None:
    (found,) = reported(name)
    assert found.severity == "error"
    assert (
        f'it looks like a security setting, so the gateway does not start: did you mean "{meant}"?'
        in (found.text)
    )


@pytest.mark.parametrize("kind", PLUGINS)
@pytest.mark.parametrize("names", ["my-guard", ["my-guard"]])
def test_a_plugin_stops_the_start_unless_it_is_in_ignore_plugins(kind: str, names: Any) -> None:
    (found,) = reported(kind, {"name": names})
    assert found.severity == "error"
    assert "gateway/python" in found.text
    extra = {kind: {"name": names}, "gateway": {"ignore_plugins": ["my-guard"]}}
    (hint,) = load({"version": 3, "extra_config": extra}, CATALOG, {}).findings
    assert (hint.severity, "my-guard" in hint.text) == ("hint", True)


def test_each_plugin_is_reported_by_its_name() -> None:
    found = reported("github.com/devopsfaith/krakend/proxy/plugin", {"name": ["a", "b"]})
    assert ['"a"' in found[0].text, '"b"' in found[1].text] == [True, True]


def test_a_plugin_of_an_endpoint_stops_the_start_too() -> None:
    backend = {"host": ["http://b"], "extra_config": {"plugin/req-resp-modifier": {"name": ["x"]}}}
    with pytest.raises(ConfigError):
        load({"version": 3, "endpoints": [{"endpoint": "/", "backend": [backend]}]}, CATALOG, {})


def test_a_plugin_for_requests_to_a_backend_does_not_stop_the_start() -> None:
    assert [each.severity for each in reported("plugin/http-client", {"name": "x"})] == ["warning"]


@pytest.mark.parametrize("settings", [{}, {"name": [{}]}, {"name": 5}, 5])
@pytest.mark.parametrize("kind", PLUGINS)
def test_without_a_name_there_is_no_plugin(kind: str, settings: Any) -> None:
    loaded = load({"version": 3, "extra_config": {kind: settings}}, CATALOG, {})
    found = [*loaded.findings, *check(loaded.service, CATALOG)]
    assert [(each.severity, each.text) for each in found] == [
        ("warning", "names no plugin, ignored")
    ]


def test_a_legacy_name_is_reported_as_the_one_of_today() -> None:
    name = "github_com/letgoapp/krakend-influx"
    assert "use telemetry/opentelemetry" in reported(name)[0].text
    assert all(name not in INSTEAD for name in LEGACY)


def test_an_unknown_name_may_be_a_misspelt_one() -> None:
    assert 'did you mean "router"?' in reported("routr")[0].text
    assert reported("nosuch/thing")[0].text == "unknown namespace, ignored"
    old = "github.com/devopsfaith/krakend-ratelimit/juju/router"
    assert reported(old)[0].text.endswith('KrakenD 1\'s name of "qos/ratelimit/router"')
    alias = "github.com/devopsfaith/krakend-martain"
    assert 'did you mean "modifier/martian"?' in reported(alias)[0].text


def test_a_namespace_on_the_wrong_level_is_reported_where_it_belongs() -> None:
    assert reported("backend/amqp/consumer")[0].text.endswith("ignored: it belongs to a backend")
    assert (
        "it belongs to an endpoint or an agent or a backend"
        in reported("modifier/jmespath")[0].text
    )


def test_a_wrong_type_makes_the_namespace_ignored_as_in_krakend() -> None:
    loaded = load(
        {"version": 3, "extra_config": {"router": {"return_error_msg": "yes"}}}, CATALOG, {}
    )
    (found,) = loaded.findings
    assert found.path == "$.extra_config.router.return_error_msg"
    assert found.severity == "warning"
    assert found.text.endswith("all of router is ignored, as in KrakenD")
    assert "router" not in loaded.service.extra_config


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("auth/validator", {"alg": ["RS256"], "shared_cache_duration": "long"}),
        ("gateway", {"max_requests": "many"}),
        ("modifier/lua-endpoint", {"pre": {}}),
    ],
)
def test_a_wrong_type_stops_the_start_in_security_settings_and_extensions(
    name: str, settings: Any
) -> None:
    assert "error" in {each.severity for each in reported(name, settings)}
