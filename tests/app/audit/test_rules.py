"""Each rule holds where it should, and not where everything is well. All cases are files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.app.audit import Recommendation, audit, rules
from gateway.app.catalog import CATALOG
from gateway.config.load import load

LOCAL = "amqp://gateway:secret@localhost:5672"
VALIDATOR: dict[str, Any] = {
    "alg": "RS256",
    "jwk_local_path": "keys.json",
    "disable_jwk_security": True,
    "audience": ["me"],
    "require_exp": True,
}
GUARDED = {"auth/validator": VALIDATOR, "validation/json-schema": {"type": "object"}}
PRODUCER = {
    "name": "",
    "exchange": "x",
    "routing_key": "k",
    "static_routing_key": True,
    "mandatory": True,
    "durable": True,
}
CONSUMER = {"name": "q", "exchange": "x", "durable": True}


def broker(**extra: Any) -> dict[str, Any]:
    return {"host": [LOCAL], "disable_host_sanitize": True, "extra_config": extra}


GOOD: dict[str, Any] = {
    "version": 3,
    "name": "shop",
    "listen_ip": "127.0.0.1",
    "endpoints": [
        {
            "endpoint": "/p",
            "method": "POST",
            "backend": [broker(**{"backend/amqp/producer": PRODUCER})],
            "extra_config": GUARDED,
        },
        {
            "endpoint": "/t",
            "backend": [
                broker(**{"backend/amqp/consumer": CONSUMER}),
                {
                    "host": ["https://service"],
                    "extra_config": {
                        "qos/circuit-breaker": {"max_errors": 3, "interval": 10, "timeout": 10},
                        "qos/http-cache": {"max_items": 1, "max_size": 1},
                    },
                },
            ],
            "extra_config": GUARDED,
        },
    ],
    "async_agent": [
        {
            "name": "a",
            "consumer": {"topic": "#"},
            "backend": [broker(**{"backend/amqp/producer": PRODUCER})],
            "extra_config": {"async/amqp": {"host": LOCAL, **CONSUMER}},
        }
    ],
    "tls": {"keys": [{"public_key": "a", "private_key": "b"}]},
    "extra_config": {
        "telemetry/logging": {"level": "INFO", "stdout": True},
        "telemetry/opentelemetry": {"exporters": {"otlp": [{"name": "c"}]}},
        "security/http": {},
        "security/cors": {"allow_origins": ["https://me"], "allow_credentials": True},
        "security/bot-detector": {"deny": ["a"]},
        "qos/ratelimit/service": {"max_rate": 5, "client_max_rate": 1, "strategy": "ip"},
        "router": {"hide_version_header": True, "trusted_proxies": ["10.0.0.0/8"]},
        "gateway": {"management_port": 9000, "max_body_bytes": 1000},
    },
}
P, T, AGENT = ("endpoints", 0), ("endpoints", 1), ("async_agent", 0)
ROOT, OF_P, OF_T = ("extra_config",), (*P, "extra_config"), (*T, "extra_config")
OTEL = (*ROOT, "telemetry/opentelemetry")
PUBLISHED = (*P, "backend", 0, "extra_config", "backend/amqp/producer")
TAKEN = (*T, "backend", 0, "extra_config", "backend/amqp/consumer")
ASKED = (*T, "backend", 1, "extra_config")
ABSENT = object()

Changes = Mapping[tuple[Any, ...], Any]

SIGNER = {
    "alg": "RS256",
    "kid": "k",
    "keys_to_sign": ["a"],
    "jwk_url": "http://keys.example/private",
    "disable_jwk_security": True,
}
BY_URL = {**VALIDATOR, "jwk_local_path": ""}
UNLIMITED: Changes = {(*ROOT, "qos/ratelimit/service"): ABSENT}
REDIS = {"max_rate": 1, "connection_pool": "a"}
LIMITED: list[Changes] = [
    {**UNLIMITED, (*ROOT, "qos/ratelimit/service/redis"): REDIS},
    {**UNLIMITED, (*OF_P, "qos/ratelimit/router"): {"max_rate": 1}},
    {**UNLIMITED, (*OF_P, "qos/ratelimit/router/redis"): REDIS},
    {**UNLIMITED, (*OF_P, "qos/ratelimit/tiered"): {"tier_key": "X", "tiers": []}},
    {**UNLIMITED, (*P, "backend", 0, "extra_config", "qos/ratelimit/proxy"): {"max_rate": 1}},
]
"""By every namespace that limits rates."""

CASES: dict[str, list[Changes]] = {
    "1.1.1": [{(*OF_T, "auth/basic"): {"users": {}}}, {(*ROOT, "auth/basic"): {"users": {}}}],
    "1.1.2": [{(*OF_T, "auth/api-keys"): {"roles": ["r"]}}],
    "1.2.1": [{(*OF_P, "auth/validator"): ABSENT, (*OF_T, "auth/validator"): ABSENT}],
    "2.1.1": [
        {("client_tls",): {"allow_insecure_connections": True}},
        {("allow_insecure_connections",): True},
    ],
    "2.1.2": [{("tls",): ABSENT}],
    "2.1.3": [{("tls", "disabled"): True}],
    "2.1.7": [{(*ROOT, "security/http"): ABSENT}],
    "2.1.8": [{("use_h2c",): True}, {(*ROOT, "router", "use_h2c"): True}],
    "2.2.1": [{(*ROOT, "router", "hide_version_header"): ABSENT}, {(*ROOT, "router"): ABSENT}],
    "2.2.2": [{(*ROOT, "security/cors"): ABSENT}],
    "2.2.3": [{(*T, "input_headers"): ["X", "*"]}],
    "2.2.4": [{(*T, "input_query_strings"): ["*"]}],
    "2.3.1": [{(*ASKED, "qos/http-cache", "max_size"): ABSENT}],
    "3.1.1": [{(*ROOT, "security/bot-detector"): ABSENT}],
    "3.1.2": [{(*ROOT, "qos/ratelimit/service"): ABSENT}],
    "3.1.3": [{(*ASKED, "qos/circuit-breaker"): ABSENT}],
    "3.3.1": [{(*T, "timeout"): "3500ms"}],
    "3.3.2": [{(*T, "timeout"): "5.5s"}],
    "3.3.3": [{("timeout",): "31s"}],
    "3.3.4": [{(*T, "timeout"): "61s"}],
    "4.1.1": [{(*ROOT, "telemetry/opentelemetry"): ABSENT}],
    "4.1.2": [{("name",): ABSENT}],
    "4.1.3": [{(*ROOT, "telemetry/metrics"): {}}],
    "4.2.1": [
        {(*OTEL, "exporters"): {"prometheus": [{"name": "p"}]}},
        {(*OTEL, "exporters", "otlp", 0, "disable_traces"): True},
        {(*OTEL, "trace_sample_rate"): 0},
        {(*ROOT, "telemetry/opentelemetry"): ABSENT},
    ],
    "4.3.1": [{(*ROOT, "telemetry/logging"): ABSENT}],
    "5.1.1": [{("disable_rest",): True}],
    "5.1.2": [{("debug_endpoint",): True}],
    "5.1.3": [{("echo_endpoint",): True}],
    "5.1.4": [{(*T, "endpoint"): "/t/*"}],
    "5.1.5": [{(*T, "endpoint"): "/__catchall"}],
    "5.1.6": [{(*T, "method"): "PUT", (*T, "backend", 0): {"host": ["b"], "method": "post"}}],
    "5.1.7": [{(*OF_T, "proxy"): {"sequential": True}}],
    "5.2.2": [{(*T, "backend", 1): ABSENT}],
    "5.2.3": [
        {(*T,): ABSENT, (*P, "output_encoding"): "no-op"},
    ],
    "6.1.1": [
        {
            ("sequential_start",): True,
            ("async_agent",): [{**GOOD["async_agent"][0], "name": str(at)} for at in range(10)],
        }
    ],
    "7.3.1": [{("tls",): {"public_key": "a", "private_key": "b"}}],
    "8.1.1": [{(*P, "backend", 0, "host"): ["amqps://guest:guest@broker"]}],
    "8.1.2": [
        {(*P, "backend", 0, "host"): ["amqp://me:secret@broker"]},
        {(*AGENT, "extra_config", "async/amqp", "host"): "amqp://me:secret@broker"},
    ],
    "8.1.3": [{(*P, "backend", 0, "host"): ["amqp://localhost"]}],
    "8.2.1": [
        {(*OF_P, "auth/validator"): ABSENT},
        {(*OF_P, "auth/validator"): ABSENT, (*ROOT, "auth/basic"): {"users": {}}},
        {
            (*OF_P, "auth/validator"): ABSENT,
            ("tls", "enable_mtls"): True,
            ("tls", "disabled"): True,
        },
    ],
    "8.2.2": [{(*OF_T, "auth/validator"): ABSENT}],
    "8.2.3": [{(*ROOT, "qos/ratelimit/service"): ABSENT}],
    "8.2.4": [{(*OF_P, "validation/json-schema"): ABSENT}],
    "8.2.5": [{(*PUBLISHED, "static_routing_key"): ABSENT}],
    "8.3.1": [
        {(*TAKEN, "auto_ack"): True},
        {(*AGENT, "extra_config", "async/amqp", "auto_ack"): True},
    ],
    "8.3.2": [{(*PUBLISHED, "mandatory"): ABSENT}],
    "9.1.1": [{(*ROOT, "security/cors", "allow_origins"): ABSENT}],
    "9.1.2": [{("listen_ip",): ABSENT}, {("listen_ip",): "0.0.0.0"}],
    "9.1.3": [{(*ROOT, "gateway"): ABSENT}],
    "9.1.4": [{(*ROOT, "router", "return_error_msg"): True}],
    "9.2.1": [{(*OF_T, "auth/validator", "require_exp"): ABSENT}],
    "9.2.2": [{(*OF_T, "auth/validator", "audience"): ABSENT}],
    "9.2.3": [
        {(*OF_T, "auth/validator"): {**BY_URL, "jwk_url": "http://keys.example/public"}},
        {(*OF_T, "auth/validator", "jwk_urls"): ["https://a", "http://keys.example/public"]},
        {(*OF_T, "auth/signer"): SIGNER},
    ],
    "9.3.1": [
        {(*ROOT, "router", "trusted_proxies"): ABSENT},
        {(*ROOT, "router", "trusted_proxies"): ["0.0.0.0/0"]},
        {
            (*ROOT, "router", "trusted_proxies"): ABSENT,
            (*ROOT, "qos/ratelimit/service"): ABSENT,
            (*OF_T, "qos/ratelimit/router"): {"client_max_rate": 1, "strategy": "IP"},
        },
    ],
    "9.3.2": [{(*ROOT, "gateway", "max_body_bytes"): 1_000_000_000}],
}

FINE: dict[str, list[Changes]] = {
    "1.2.1": [{("endpoints",): []}],
    "3.1.2": LIMITED,
    "5.1.6": [{(*T, "method"): "POST"}],
    "5.2.2": [{("endpoints",): []}],
    "8.2.1": [
        {(*OF_P, "auth/validator"): ABSENT, ("tls", "enable_mtls"): True},
        {(*OF_P, "auth/validator"): ABSENT, (*OF_P, "auth/basic"): {"users": {}}},
        {(*OF_P, "auth/validator"): ABSENT, (*OF_P, "auth/api-keys"): {"roles": ["r"]}},
    ],
    "4.1.2": [{("name",): ABSENT, (*OTEL, "service_name"): "shop"}],
    "4.2.1": [{(*OTEL, "trace_sample_rate"): 0.01}],
    "8.2.3": LIMITED,
    "8.2.4": [
        {
            (*OF_P, "validation/json-schema"): ABSENT,
            (*OF_P, "validation/cel"): [{"check_expr": "true"}],
        }
    ],
    "9.1.3": [
        {(*ROOT, "gateway"): ABSENT, (*ROOT, "router", "disable_health"): True},
    ],
    "9.2.3": [
        {(*OF_T, "auth/validator"): {**BY_URL, "jwk_url": "https://keys.example/public"}},
        {(*OF_T, "auth/validator"): {**BY_URL, "jwk_url": "http://localhost/public"}},
        {(*OF_T, "auth/signer"): {**SIGNER, "alg": "HS256", "jwk_local_path": "keys.json"}},
    ],
    "9.3.1": [
        {(*ROOT, "router"): {"forwarded_by_client_ip": False}},
        {(*ROOT, "router"): ABSENT, (*ROOT, "qos/ratelimit/service"): {"max_rate": 1}},
    ],
    "9.3.2": [{(*ROOT, "gateway", "max_body_bytes"): 0}],
}
"""What looks like a fault and is none."""


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Recommendation]]:
    """Changes of the good configuration -> what is recommended, by way of a file."""
    monkeypatch.chdir(tmp_path)
    public = {"kty": "RSA", "kid": "p", "e": "AQAB", "n": "vDMlH6aRzXYpJ5FhyVJ7Yw" * 16}
    secret = {"kty": "oct", "kid": "k", "k": "a" * 64}
    Path("keys.json").write_text(json.dumps({"keys": [public, secret]}))

    def audited(changes: Changes, *rest: Any) -> list[Recommendation]:
        document = json.loads(json.dumps(GOOD))
        for place, value in changes.items():
            change(document, place, value)
        Path("shop.json").write_text(json.dumps(document))
        return list(audit(load("shop.json", CATALOG, {}), CATALOG, *rest))

    return audited


def change(document: Any, place: tuple[Any, ...], value: Any) -> None:
    *above, last = place
    for key in above:
        document = document[key]
    if value is ABSENT:
        del document[last]
    else:
        document[last] = value


def each(cases: Mapping[str, list[Changes]]) -> pytest.MarkDecorator:
    pairs = [(number, changes) for number, several in cases.items() for changes in several]
    return pytest.mark.parametrize(("number", "changes"), pairs)


def test_there_is_nothing_to_recommend_where_everything_is_well(
    audited: Callable[..., list[Recommendation]],
) -> None:
    assert audited({}) == []


@each(CASES)
def test_a_rule_holds(
    number: str, changes: Changes, audited: Callable[..., list[Recommendation]]
) -> None:
    found = {one.rule: one for one in audited(changes)}
    assert number in found
    assert all(path.startswith("$") for path in found[number].paths)


@each(FINE)
def test_a_rule_does_not_hold_for_what_only_looks_like_it(
    number: str, changes: Changes, audited: Callable[..., list[Recommendation]]
) -> None:
    assert number not in {one.rule for one in audited(changes)}


def test_every_rule_has_a_case_and_a_number_of_its_own() -> None:
    numbers = [rule.number for rule in rules(CATALOG)]
    assert sorted(numbers) == sorted(set(numbers))
    assert set(numbers) == CASES.keys()


def test_rules_and_severities_can_be_left_out(
    audited: Callable[..., list[Recommendation]],
) -> None:
    changes = CASES["3.3.4"][0]
    found = [one.rule for one in audited(changes)]
    assert found == ["3.3.1", "3.3.2", "3.3.3", "3.3.4"]
    assert [one.rule for one in audited(changes, ["3.3.1"])] == found[1:]
    assert [one.rule for one in audited(changes, (), ["CRITICAL"])] == found[3:]


def test_a_recommendation_names_the_places_in_the_file(
    audited: Callable[..., list[Recommendation]],
) -> None:
    left_out = {"endpoint": "/x", "method": "PURGE", "backend": [{"host": ["http://b"]}]}
    endpoints = [left_out, *GOOD["endpoints"]]
    host = ("endpoints", 1, "backend", 0, "host")
    (found,) = audited({("endpoints",): endpoints, host: ["amqp://me:secret@broker"]})
    assert found.paths == ("$.endpoints[1].backend[0].host[0]",)
