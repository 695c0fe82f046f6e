"""Each rule holds where it should, and nowhere in a configuration that does everything well.

Settings stand as plain objects here: rules know them by their names only.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from gateway.audit import RULES, audit
from gateway.config.structs import Agent, AgentConsumer, Backend, ClientTls, Endpoint, Service

LOCAL = "amqp://gateway:secret@localhost:5672"
GUARDED = {
    "auth/validator": {"audience": ["me"], "require_exp": True},
    "validation/json-schema": {},
}
PUBLISHER = Backend(
    method="POST",
    host=(LOCAL,),
    extra_config={
        "backend/amqp/producer": {"routing_key": "k", "static_routing_key": True, "mandatory": True}
    },
)
TAKER = Backend(host=(LOCAL,), extra_config={"backend/amqp/consumer": {"auto_ack": False}})
ASKER = Backend(
    host=("https://b",),
    extra_config={
        "qos/circuit-breaker": {},
        "qos/http-cache": {"max_items": 1, "max_size": 1},
        "backend/http/client": {"client_tls": {"allow_insecure_connections": False}},
    },
)
PUBLISH = Endpoint(endpoint="/p", method="POST", backend=(PUBLISHER,), extra_config=GUARDED)
TAKE = Endpoint(endpoint="/t", backend=(TAKER, ASKER), extra_config=GUARDED)
AGENT = Agent(
    name="a",
    consumer=AgentConsumer(),
    backend=(PUBLISHER,),
    extra_config={"async/amqp": {"host": LOCAL}},
)
EXTRA: dict[str, Any] = {
    "security/http": {},
    "security/cors": {"allow_origins": ["https://me"], "allow_credentials": True},
    "security/bot-detector": {},
    "qos/ratelimit/service": {"strategy": "ip"},
    "telemetry/opentelemetry": {},
    "telemetry/logging": {},
    "router": {"hide_version_header": True, "trusted_proxies": ["10.0.0.0/8"]},
    "gateway": {"management_port": 9000, "max_body_bytes": 1000},
}
TLS: Any = {"keys": [{"public_key": "a", "private_key": "b"}]}
GOOD = Service(
    listen_ip="127.0.0.1",
    endpoints=(PUBLISH, TAKE),
    async_agent=(AGENT,),
    tls=TLS,
    extra_config=EXTRA,
)


def extra(name: str, value: Any) -> Service:
    return replace(GOOD, extra_config={**EXTRA, name: value})


def without(name: str) -> Service:
    return replace(GOOD, extra_config={key: each for key, each in EXTRA.items() if key != name})


def tls(**settings: Any) -> Service:
    changed: Any = {**TLS, **settings}
    return replace(GOOD, tls=changed)


def take(**changes: Any) -> Service:
    return replace(GOOD, endpoints=(PUBLISH, replace(TAKE, **changes)))


def guarded(name: str, value: Any) -> Service:
    return take(extra_config={**GUARDED, name: value})


def publish(**changes: Any) -> Service:
    return replace(GOOD, endpoints=(replace(PUBLISH, **changes), TAKE))


def asked(name: str, value: Any) -> Service:
    backend = replace(ASKER, extra_config={**ASKER.extra_config, name: value})
    return take(backend=(TAKER, backend))


def published(**settings: Any) -> Service:
    known = {**PUBLISHER.extra_config["backend/amqp/producer"], **settings}
    return publish(backend=(replace(PUBLISHER, extra_config={"backend/amqp/producer": known}),))


def broker(url: str) -> Service:
    return publish(backend=(replace(PUBLISHER, host=(url,)),))


OPEN = replace(PUBLISH, extra_config={})

CASES: dict[str, Service] = {
    "1.1.1": extra("auth/basic", {}),
    "1.1.2": guarded("auth/api-keys", {}),
    "1.2.1": replace(GOOD, endpoints=(OPEN,)),
    "2.1.1": replace(GOOD, client_tls=ClientTls(allow_insecure_connections=True)),
    "2.1.2": replace(GOOD, tls=None),
    "2.1.3": tls(disabled=True),
    "2.1.7": without("security/http"),
    "2.1.8": replace(GOOD, use_h2c=True),
    "2.1.9": asked("backend/http/client", {"client_tls": {"allow_insecure_connections": True}}),
    "2.2.1": extra("router", {"trusted_proxies": ["x"]}),
    "2.2.2": without("security/cors"),
    "2.2.3": take(input_headers=("X", "*")),
    "2.2.4": take(input_query_strings=("*",)),
    "2.3.1": asked("qos/http-cache", {"max_items": 1}),
    "3.1.1": without("security/bot-detector"),
    "3.1.2": without("qos/ratelimit/service"),
    "3.1.3": take(backend=(TAKER, replace(ASKER, extra_config={}))),
    "3.3.1": take(timeout=3.5),
    "3.3.2": take(timeout=5.5),
    "3.3.3": take(timeout=31.0),
    "3.3.4": take(timeout=61.0),
    "4.1.1": without("telemetry/opentelemetry"),
    "4.1.3": extra("telemetry/metrics", {}),
    "4.2.1": without("telemetry/opentelemetry"),
    "4.3.1": without("telemetry/logging"),
    "5.1.1": replace(GOOD, disable_rest=True),
    "5.1.2": replace(GOOD, debug_endpoint=True),
    "5.1.3": replace(GOOD, echo_endpoint=True),
    "5.1.4": take(endpoint="/t/*"),
    "5.1.5": take(endpoint="/__catchall"),
    "5.1.6": publish(backend=(PUBLISHER, PUBLISHER)),
    "5.1.7": guarded("proxy", {"sequential": True}),
    "5.2.2": replace(GOOD, endpoints=(PUBLISH,)),
    "5.2.3": replace(GOOD, endpoints=(replace(PUBLISH, output_encoding="no-op"),)),
    "6.1.1": replace(GOOD, sequential_start=True, async_agent=(AGENT,) * 10),
    "7.3.1": tls(public_key="a"),
    "8.1.1": broker("amqps://guest:guest@broker"),
    "8.1.2": broker("amqp://me:secret@broker"),
    "8.1.3": broker("amqp://localhost"),
    "8.2.1": replace(GOOD, endpoints=(OPEN, TAKE)),
    "8.2.2": take(extra_config={}),
    "8.2.3": without("qos/ratelimit/service"),
    "8.2.4": replace(GOOD, endpoints=(OPEN, TAKE)),
    "8.2.5": published(static_routing_key=False),
    "8.3.1": take(
        backend=(replace(TAKER, extra_config={"backend/amqp/consumer": {"auto_ack": True}}),)
    ),
    "8.3.2": published(mandatory=False),
    "9.1.1": extra("security/cors", {"allow_credentials": True}),
    "9.1.2": replace(GOOD, listen_ip=""),
    "9.1.3": extra("gateway", {}),
    "9.1.4": extra("router", {"return_error_msg": True}),
    "9.2.1": guarded("auth/validator", {"audience": ["me"]}),
    "9.2.2": guarded("auth/validator", {"require_exp": True}),
    "9.2.3": guarded("auth/signer", {"disable_jwk_security": True}),
    "9.3.1": extra("router", {"hide_version_header": True}),
    "9.3.2": extra("gateway", {"management_port": 9000, "max_body_bytes": 0}),
}


def test_there_is_nothing_to_recommend_where_everything_is_well() -> None:
    assert list(audit(GOOD)) == []


@pytest.mark.parametrize("number", CASES)
def test_a_rule_holds(number: str) -> None:
    found = {each.rule: each for each in audit(CASES[number])}
    assert number in found
    assert all(path.startswith("$") for path in found[number].paths)


def test_every_rule_has_a_case_and_a_number_of_its_own() -> None:
    numbers = [rule.number for rule in RULES]
    assert sorted(numbers) == sorted(set(numbers))
    assert set(numbers) == CASES.keys()


def test_client_certificates_authenticate_too() -> None:
    service = replace(tls(enable_mtls=True), endpoints=(OPEN, replace(TAKE, extra_config={})))
    assert {"8.2.1", "8.2.2"} & {each.rule for each in audit(service)} == set()


def test_on_another_level_a_guard_does_not_count() -> None:
    endpoint = replace(OPEN, extra_config={"security/bot-detector": {}})
    root = {**without("security/bot-detector").extra_config, "auth/validator": {}}
    found = audit(replace(GOOD, endpoints=(endpoint,), extra_config=root))
    assert {"1.2.1", "3.1.1"} <= {each.rule for each in found}


def test_rules_and_severities_can_be_left_out() -> None:
    found = [each.rule for each in audit(CASES["3.3.4"])]
    assert found == ["3.3.1", "3.3.2", "3.3.3", "3.3.4"]
    assert [each.rule for each in audit(CASES["3.3.4"], ["3.3.1"])] == found[1:]
    assert [each.rule for each in audit(CASES["3.3.4"], (), ["CRITICAL"])] == found[3:]


def test_a_recommendation_names_the_places() -> None:
    (found,) = audit(CASES["8.1.2"])
    assert found.paths == ("$.endpoints[0].backend[0].host[0]",)
