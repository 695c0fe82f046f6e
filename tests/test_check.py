"""The traps that ``gateway check`` remarks on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.catalog import CATALOG
from gateway.check import check
from gateway.config.load import load


def remarks(endpoint: dict[str, Any] | None = None, **settings: Any) -> str:
    consumer = {
        "name": "q",
        "exchange": "ex",
        "routing_key": ["#"],
        "durable": True,
        "prefetch_count": 500,
        **settings,
    }
    backend = {
        "host": ["amqp://broker"],
        "disable_host_sanitize": True,
        "extra_config": {"backend/amqp/consumer": consumer},
    }
    document = {
        "version": 3,
        "endpoints": [{"endpoint": "/a", "backend": [backend], **(endpoint or {})}],
    }
    return "\n".join(map(str, check(load(document, CATALOG, {}).service)))


def test_a_good_consumer_has_no_remarks() -> None:
    assert remarks() == ""


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"prefetch_size": 1024}, "prefetch_size"),
        ({"prefetch_count": 0}, "no prefetch_count"),
        ({"prefetch_count": 10}, "small"),
        ({"auto_ack": True}, "at most once"),
        ({"exclusive": True}, "exclusive"),
        ({"delete": True}, "last consumer"),
        ({"durable": False}, "not durable"),
        ({"arguments": {"x-queue-type": "quorum", "x-delivery-limit": 3}}, "x-delivery-limit"),
        ({"wait": "1s", "priority": 3}, "only this gateway knows: priority, wait"),
    ],
)
def test_a_trap_is_remarked_on(settings: dict[str, Any], word: str) -> None:
    assert word in remarks(**settings)


def test_concurrent_calls_take_no_messages_for_nothing() -> None:
    assert "counts as 1" in remarks({"concurrent_calls": 3})


def remarks_on_producer(path: str = "/p", **settings: Any) -> str:
    producer = {
        "name": "q",
        "exchange": "ex",
        "routing_key": "k",
        "static_routing_key": True,
        "durable": True,
        **settings,
    }
    backend = {
        "host": ["amqp://broker"],
        "disable_host_sanitize": True,
        "extra_config": {"backend/amqp/producer": producer},
    }
    calls = 3 if settings.pop("calls", False) else 1
    endpoint = {"endpoint": path, "method": "POST", "concurrent_calls": calls, "backend": [backend]}
    document = {"version": 3, "endpoints": [endpoint]}
    return "\n".join(map(str, check(load(document, CATALOG, {}).service)))


def test_a_good_producer_has_no_remarks() -> None:
    assert remarks_on_producer() == ""


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"immediate": True}, "immediate is ignored"),
        ({"exclusive": True}, "exclusive is ignored"),
        ({"durable": False}, "not persistent"),
        ({"durable": False, "delivery_mode": 2}, "not durable"),
        ({"delivery_mode": 1}, "not persistent"),
        ({"routing_key": "#", "static_routing_key": False}, "documentation"),
        ({"routing_key": "route", "static_routing_key": False}, "no parameter {route}"),
        ({"exp_key": "Ttl"}, "no parameter {Ttl}"),
        ({"calls": True}, "counts as 1"),
        ({"status": 202, "response": "receipt"}, "only this gateway knows: response, status"),
    ],
)
def test_a_trap_of_producers_is_remarked_on(settings: dict[str, Any], word: str) -> None:
    assert word in remarks_on_producer(**settings)


@pytest.mark.parametrize("key", ["route", "Route", "{query.key}", "{header.X-Key}", "{JWT.sub}"])
def test_a_value_that_can_be_there_is_not_remarked_on(key: str) -> None:
    assert "no parameter" not in remarks_on_producer("/p/{route}", msg_id_key=key)


def proxy_remarks(endpoint: dict[str, Any], *backends: dict[str, Any]) -> dict[str, str]:
    """Path below the endpoint -> text, for HTTP backends with these keys."""
    plain = {"host": ["http://service.test"], "url_pattern": "/x"}
    document = {
        "version": 3,
        "endpoints": [
            {
                "endpoint": "/a",
                "extra_config": {"proxy": endpoint},
                "backend": [{**plain, **each} for each in backends],
            }
        ],
    }
    found = check(load(document, CATALOG, {}).service)
    return {each.path.removeprefix("$.endpoints[0]."): each.text for each in found}


def own(**settings: Any) -> dict[str, Any]:
    return {"extra_config": {"proxy": settings}}


@pytest.mark.parametrize("key", ["input_headers", "input_query_strings"])
def test_everything_in_the_list_of_a_backend_is_remarked_on(key: str) -> None:
    [(where, text)] = proxy_remarks({}, {key: ["*"]}).items()
    assert (where, "endpoints only" in text) == (f"backend[0].{key}", True)


MOVE = {"type": "move", "args": ["a", "b"]}


def test_a_good_proxy_has_no_remarks() -> None:
    static = {"data": {"a": 1}, "strategy": "errored"}
    endpoint = {"sequential": True, "static": static, "flatmap_filter": [MOVE]}
    backends: Any = (
        {},
        {"url_pattern": "/{resp0_id}"},
        own(shadow=True),
        own(flatmap_filter=[MOVE]),
    )
    assert proxy_remarks(endpoint, *backends) == {}


@pytest.mark.parametrize(
    ("settings", "path", "word"),
    [
        ({"static": {}}, "static", "without data"),
        ({"static": {"data": {}, "strategy": "nosuch"}}, "static.strategy", '"always" is used'),
        ({"combiner": "nosuch"}, "combiner", '"default" is used'),
        ({"flatmap_filter": [{"type": "copy"}]}, "flatmap_filter[0]", 'unknown type "copy"'),
        ({"flatmap_filter": [MOVE, {"type": "move"}]}, "flatmap_filter[1]", "two paths"),
        ({"shadow": True}, "shadow", "no meaning"),
    ],
)
def test_traps_of_proxy_on_an_endpoint_are_remarked_on(
    settings: dict[str, Any], path: str, word: str
) -> None:
    [(where, text)] = proxy_remarks(settings, {}, {}).items()
    assert (where, word in text) == (f"extra_config.proxy.{path}", True)


def test_what_needs_several_backends_has_no_effect_with_one() -> None:
    settings = {"sequential": True, "flatmap_filter": [MOVE]}
    found = proxy_remarks(settings, {}, own(shadow=True))
    assert found.keys() == {"extra_config.proxy.sequential", "extra_config.proxy.flatmap_filter"}


@pytest.mark.parametrize(
    ("keys", "path", "word"),
    [
        (own(sequential=True), "sequential", "no meaning"),
        (own(static={"data": {}}), "static", "no meaning"),
        (own(flatmap_filter=[{"type": "append"}]), "flatmap_filter[0]", "two paths"),
        ({**own(flatmap_filter=[MOVE]), "allow": ["a"]}, "flatmap_filter", "are ignored"),
    ],
)
def test_traps_of_proxy_on_a_backend_are_remarked_on(
    keys: dict[str, Any], path: str, word: str
) -> None:
    [(where, text)] = proxy_remarks({}, {}, keys).items()
    assert (where, word in text) == (f"backend[1].extra_config.proxy.{path}", True)


@pytest.mark.parametrize(
    ("is_sequential", "pattern", "is_remarked"),
    [
        (True, "/{resp0_a}", False),
        (True, "/{resp1_a}", True),
        (True, "/{resp7_a}", True),
        (False, "/{resp0_a}", True),
    ],
)
def test_a_reference_to_no_earlier_answer_is_remarked_on(
    is_sequential: bool, pattern: str, is_remarked: bool
) -> None:
    found = proxy_remarks({"sequential": is_sequential}, {}, {"url_pattern": pattern})
    assert found.keys() == ({"backend[1].url_pattern"} if is_remarked else set())


def remarks_on_agent(method: str = "POST", **settings: Any) -> str:
    source = {"host": "amqp://broker", "name": "q", "exchange": "ex", "durable": True, **settings}
    agent = {
        "name": "a",
        "consumer": {"topic": "#"},
        "backend": [{"host": ["http://service"], "url_pattern": "/", "method": method}],
        "extra_config": {"async/amqp": source},
    }
    document = {"version": 3, "async_agent": [agent]}
    return "\n".join(map(str, check(load(document, CATALOG, {}).service)))


def test_a_good_agent_has_no_remarks() -> None:
    assert remarks_on_agent() == ""


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"method": "GET"}, "POST is what services expect"),
        ({"prefetch_size": 1}, "prefetch_size"),
        ({"auto_ack": True}, "at most once"),
        ({"nack_discard": True}, "dropped"),
        ({"max_redeliveries": 3}, "only this gateway knows: max_redeliveries"),
        ({"delete": True}, "dies with"),
        ({"durable": False}, "not durable"),
    ],
)
def test_a_trap_of_agents_is_remarked_on(settings: dict[str, Any], word: str) -> None:
    assert word in remarks_on_agent(**settings)


def test_the_broker_of_an_agent_may_have_its_password_from_the_environment() -> None:
    source = {"host": "amqp://me:${SECRET}@broker", "name": "q", "exchange": "ex"}
    agent = {
        "consumer": {"topic": "#"},
        "backend": [{"host": ["http://service"]}],
        "extra_config": {"async/amqp": source},
    }
    loaded = load({"version": 3, "async_agent": [agent]}, CATALOG, {"SECRET": "a/b"})
    (loaded_agent,) = loaded.service.async_agent
    assert loaded_agent.name == "AsyncAgent-01"
    assert loaded_agent.extra_config["async/amqp"].host == "amqp://me:a%2Fb@broker"
    assert "a/b" not in str(loaded.findings)


def remarks_on_tokens(folder: Path, content: str = "", **settings: Any) -> str:
    """Of an endpoint that has no others, but for what ``settings`` change."""
    path = folder / "keys.json"
    path.write_text(content or f'{{"keys":[{{"kty":"oct","kid":"k","k":"{"A" * 44}"}}]}}')
    validator = {
        "alg": "HS256",
        "jwk_local_path": str(path),
        "disable_jwk_security": True,
        "audience": ["here"],
        "require_exp": True,
        **settings,
    }
    endpoint = {
        "endpoint": "/a",
        "backend": [{"host": ["http://backend"], "url_pattern": "/{JWT.sub}"}],
        "extra_config": {"auth/validator": validator},
    }
    service = load({"version": 3, "endpoints": [endpoint]}, CATALOG, {}).service
    return "\n".join(map(str, check(service)))


def test_a_good_validator_has_no_remarks_but_on_our_key(tmp_path: Path) -> None:
    text = remarks_on_tokens(tmp_path)
    assert text.endswith("only this gateway knows: require_exp")
    assert "\n" not in text


URL = {"jwk_local_path": "", "jwk_url": "https://keys"}


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"require_exp": False}, "accepted for ever"),
        ({"audience": []}, "other services"),
        ({"scopes": ["a"]}, "scopes are not looked at"),
        ({"scopes_matcher": "some"}, '"any" is used'),
        ({"key_identify_strategy": "x"}, '"kid" is used'),
        ({"disable_jwk_security": False}, "every request gets 401"),
        ({"jwk_url": "https://keys"}, "beside jwk_local_path"),
        ({"alg": "RS256"}, "no key in it serves RS256"),
        ({"alg": "HS512"}, "less than 64 bytes"),
        ({"cipher_suites": [1]}, "unknown 1"),
        (URL, "can change what the key server answers"),
        ({**URL, "disable_jwk_security": False}, "shared secret"),
        (URL, "fetched every 60 s"),
        ({"propagate_claims": [["sub"]]}, "expected a claim and a header"),
        ({"propagate_claims": [["sub", "x-sub"]]}, 'no backend gets "x-sub"'),
    ],
)
def test_a_trap_of_a_validator_is_remarked_on(
    tmp_path: Path, settings: dict[str, Any], word: str
) -> None:
    assert word in remarks_on_tokens(tmp_path, **settings)


def test_a_claim_without_a_token_is_remarked_on() -> None:
    endpoint = {
        "endpoint": "/a",
        "backend": [{"host": ["http://backend"], "url_pattern": "/{JWT.sub}"}],
    }
    service = load({"version": 3, "endpoints": [endpoint]}, CATALOG, {}).service
    assert "{JWT.sub} has no value" in "\n".join(map(str, check(service)))


def remarks_on_signer(folder: Path, backend: dict[str, Any] | None = None, **settings: Any) -> str:
    path = folder / "keys.json"
    path.write_text(f'{{"keys":[{{"kty":"oct","kid":"k","k":"{"A" * 44}"}}]}}')
    signer = {
        "alg": "HS256",
        "kid": "k",
        "keys_to_sign": ["token"],
        "jwk_local_path": str(path),
        "disable_jwk_security": True,
        **settings,
    }
    endpoint = {
        "endpoint": "/a",
        "backend": [{"host": ["http://backend"], **(backend or {})}],
        "extra_config": {"auth/signer": signer},
    }
    service = load({"version": 3, "endpoints": [endpoint]}, CATALOG, {}).service
    return "\n".join(map(str, check(service)))


def test_a_good_signer_has_no_remarks(tmp_path: Path) -> None:
    assert remarks_on_signer(tmp_path) == ""


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"kid": "other"}, 'no key "other" in the file'),
        ({"keys_to_sign": []}, "nothing is signed"),
        ({"disable_jwk_security": False}, "every request gets 401"),
    ],
)
def test_a_trap_of_a_signer_is_remarked_on(
    tmp_path: Path, settings: dict[str, Any], word: str
) -> None:
    assert word in remarks_on_signer(tmp_path, **settings)


def test_a_token_for_a_broker_is_remarked_on(tmp_path: Path) -> None:
    consumer = {"name": "q", "exchange": "ex", "routing_key": ["#"], "durable": True}
    credentials = {"token_url": "https://server/token"}
    backend = {
        "host": ["amqp://broker"],
        "disable_host_sanitize": True,
        "extra_config": {
            "backend/amqp/consumer": consumer,
            "auth/client-credentials": credentials,
        },
    }
    assert "no meaning for a broker" in remarks_on_signer(tmp_path, backend)


def remarks_on_root(**extra: Any) -> str:
    service = load({"version": 3, "extra_config": extra}, CATALOG, {}).service
    return "\n".join(map(str, check(service)))


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({}, "nothing can be revoked"),
        ({"token_keys": ["jti"]}, "there is none"),
        ({"token_keys": ["jti"], "revoke_server_ping_url": "http://x"}, "not asked"),
        ({"token_keys": ["jti"]}, "a restart forgets"),
    ],
)
def test_a_trap_of_a_revoker_is_remarked_on(settings: dict[str, Any], word: str) -> None:
    assert word in remarks_on_root(**{"auth/revoker": {"TTL": 60, **settings}})


def test_an_open_management_port_is_remarked_on() -> None:
    revoker = {"TTL": 60, "token_keys": ["jti"]}
    text = remarks_on_root(**{"auth/revoker": revoker, "gateway": {"management_port": 9090}})
    assert "whoever reaches the management port" in text


@pytest.mark.parametrize(
    ("root", "endpoint", "word"),
    [
        ({"keys": [{"key": "a"}]}, {}, "whoever reads the configuration"),
        ({"keys": [{"key": "a", "roles": ["A"]}]}, {"roles": ["B"]}, "no key has one"),
        (None, {"roles": ["A"]}, "the root has no keys"),
        ({"keys": [], "client_max_rate": 5}, {}, "has no effect at the root"),
    ],
)
def test_a_trap_of_api_keys_is_remarked_on(
    root: dict[str, Any] | None, endpoint: dict[str, Any], word: str
) -> None:
    protected = {
        "endpoint": "/a",
        "backend": [{"host": ["http://backend"]}],
        "extra_config": {"auth/api-keys": endpoint},
    }
    extra = {} if root is None else {"auth/api-keys": root}
    document = {"version": 3, "endpoints": [protected], "extra_config": extra}
    service = load(document, CATALOG, {}).service
    assert word in "\n".join(map(str, check(service)))


def validated(
    level: str, extra: dict[str, Any], backend: str = "amqp://broker", method: str = "POST"
) -> str:
    """What is said when ``extra`` stands on an "endpoint" or a "backend"."""
    settings = {"name": "q", "exchange": "ex", "routing_key": ["#"], "prefetch_count": 500}
    settings["durable"] = True
    consumer = {"backend/amqp/consumer": settings} if backend.startswith("amqp") else {}
    on_backend = {"extra_config": {**consumer, **(extra if level == "backend" else {})}}
    endpoint = {
        "endpoint": "/a",
        "method": method,
        "backend": [{"host": [backend], "disable_host_sanitize": True, **on_backend}],
        "extra_config": extra if level == "endpoint" else {},
    }
    document = {"version": 3, "endpoints": [endpoint]}
    return "\n".join(map(str, check(load(document, CATALOG, {}).service)))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("now == ''", "never evaluated"),
        ("", "never evaluated"),
        ("JWT.sub == 'me'", "never evaluated"),
        ("req_method == 'GET' && resp_completed", "names both"),
        ("JWT.sub == req_method", "names a token beside"),
        ("req_nosuch == 1", "undeclared reference to 'req_nosuch'"),
        ("resp_metadata_status == '200'", "no matching overload"),
    ],
)
def test_an_expression_with_a_trap_is_remarked_on(text: str, word: str) -> None:
    extra = {"validation/cel": [{"check_expr": "req_method == 'GET'"}, {"check_expr": text}]}
    for level, place in (("endpoint", ""), ("backend", ".backend[0]")):
        where = f'$.endpoints[0]{place}.extra_config["validation/cel"][1].check_expr'
        said = validated(level, extra, "http://service")
        assert any(
            line.startswith(f"warning: {where}: ") and word in line for line in said.split("\n")
        )


def test_good_validation_has_no_remarks() -> None:
    extra = {
        "validation/cel": [{"check_expr": "resp_data.a == '1' && timestamp(now) != null"}],
        "validation/json-schema": {"type": "object"},
        "validation/response-json-schema": {"schema": {"type": "object"}},
    }
    assert validated("endpoint", extra) == ""


@pytest.mark.parametrize(
    ("schema", "method", "word"),
    [({"type": "object"}, "GET", "every GET"), ({"required": ["a"]}, "POST", 'without "type"')],
)
def test_a_schema_with_a_trap_is_remarked_on(schema: Any, method: str, word: str) -> None:
    assert word in validated("endpoint", {"validation/json-schema": schema}, method=method)


@pytest.mark.parametrize(
    "extra",
    [
        {"validation/cel": [{"check_expr": "resp_completed"}]},
        {"validation/response-json-schema": {"schema": {"type": "object"}}},
    ],
)
def test_a_check_that_gives_messages_back_is_remarked_on(extra: dict[str, Any]) -> None:
    assert "comes again" in validated("backend", extra)
    assert "comes again" not in validated("backend", extra, "http://service")
