"""Namespaces that are not here: what is told, and what stops the start."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.catalog import CATALOG
from gateway.check import check
from gateway.config.absent import INSTEAD, LEGACY, OUTGOING, instead
from gateway.config.findings import ConfigError, Finding
from gateway.config.load import load

KNOWN = {name for row in CATALOG for name in (row.namespace, *row.aliases)}

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


def told(name: str, settings: Any = None) -> list[Finding]:
    extra = {name: {} if settings is None else settings}
    try:
        return list(load({"version": 3, "extra_config": extra}, CATALOG, {}).findings)
    except ConfigError as error:
        return list(error.findings)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in KNOWN | TO_COME])
def test_every_namespace_of_krakend_that_is_not_here_is_told_with_what_to_use(name: str) -> None:
    found = told(name)
    if name.startswith("documentation/"):
        assert found == []
    else:
        assert "not implemented" in found[0].text
        assert found[0].severity == "error" or instead(name)


@pytest.mark.parametrize("name", ["security/policies", "auth/of-tomorrow", "validation/xml"])
def test_what_guards_stops_the_start(name: str) -> None:
    assert [each.severity for each in told(name)] == ["error"]


@pytest.mark.parametrize("name", OUTGOING)
def test_what_shows_the_gateway_to_backends_does_not(name: str) -> None:
    assert [each.severity for each in told(name)] == ["warning"]


@pytest.mark.parametrize("names", ["basic-auth", ["geoip", "ip-filter"]])
@pytest.mark.parametrize("kind", ["plugin/http-server", "plugin/req-resp-modifier"])
def test_a_plugin_that_guards_stops_the_start(kind: str, names: Any) -> None:
    found = told(kind, {"name": names})
    assert [each.severity for each in found] == ["error"]
    assert "gateway/python" in found[0].text


@pytest.mark.parametrize("settings", [{"name": ["geoip"]}, {"name": [{}]}, {"name": 5}, 5])
@pytest.mark.parametrize("kind", ["plugin/http-server", "plugin/req-resp-modifier"])
def test_another_plugin_does_not(kind: str, settings: Any) -> None:
    loaded = load({"version": 3, "extra_config": {kind: settings}}, CATALOG, {})
    found = [*loaded.findings, *check(loaded.service)]
    assert [each.severity for each in found] == ["warning"]
    assert "gateway/python" in found[0].text


def test_a_legacy_name_is_told_as_the_one_of_today() -> None:
    name = "github_com/letgoapp/krakend-influx"
    assert "use telemetry/opentelemetry" in told(name)[0].text
    assert all(name not in INSTEAD for name in LEGACY)


def test_a_name_nobody_knows_may_be_one_misspelt() -> None:
    assert 'did you mean "router"?' in told("routr")[0].text
    assert told("nosuch/thing")[0].text == "unknown namespace, ignored"
