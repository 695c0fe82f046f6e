"""Rules about what clients can reach of this gateway. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..config.structs import Endpoint, Service
from .amqp import is_local
from .rule import Rule, endpoints, is_http, root_setting, setting, when

LARGE_BODY = 100 * 1024 * 1024
KEYS = ("auth/validator", "auth/signer")


def _open_cors(service: Service) -> Iterator[str]:
    cors = service.extra_config.get("security/cors")
    if cors is None:
        return
    origins = setting(cors, "allow_origins") or ("*",)
    if setting(cors, "allow_credentials") and "*" in origins:
        yield '$.extra_config["security/cors"]'


def _validators(service: Service) -> Iterator[tuple[object, str]]:
    for endpoint, path in endpoints(service):
        if (settings := endpoint.extra_config.get("auth/validator")) is not None:
            yield settings, f'{path}.extra_config["auth/validator"]'


def _no_expiry(service: Service) -> Iterator[str]:
    return (path for each, path in _validators(service) if not setting(each, "require_exp"))


def _no_audience(service: Service) -> Iterator[str]:
    return (path for each, path in _validators(service) if not setting(each, "audience"))


def _open_keys(service: Service) -> Iterator[str]:
    for endpoint, path in endpoints(service):
        for name in KEYS:
            if setting(endpoint.extra_config.get(name), "disable_jwk_security"):
                yield f'{path}.extra_config["{name}"]'


def _believed_addresses(service: Service) -> Iterator[str]:
    """Limits by the address of the client, which any client may choose."""
    if not root_setting(service, "router", "forwarded_by_client_ip", True):
        return
    if root_setting(service, "router", "trusted_proxies"):
        return
    levels: list[tuple[Service | Endpoint, str]] = [(service, "$"), *endpoints(service)]
    for level, path in levels:
        for name in ("qos/ratelimit/router", "qos/ratelimit/service"):
            if setting(level.extra_config.get(name), "strategy") == "ip":
                yield f'{path}.extra_config["{name}"]'


def _large_bodies(service: Service) -> bool:
    largest: int = root_setting(service, "gateway", "max_body_bytes", 1)
    return not 0 < largest <= LARGE_BODY


def _is_management_open(service: Service) -> bool:
    port = root_setting(service, "gateway", "management_port")
    return port is not None and not (service.listen_ip and is_local(service.listen_ip))


def _is_readiness_public(service: Service) -> bool:
    has_broker = service.async_agent or any(
        not is_http(backend) for endpoint in service.endpoints for backend in endpoint.backend
    )
    return bool(has_broker) and root_setting(service, "gateway", "management_port") is None


RULES = (
    Rule(
        "9.1.1",
        "HIGH",
        "CORS with credentials for every origin: any site can act as your users.",
        _open_cors,
    ),
    Rule(
        "9.1.2",
        "MEDIUM",
        "The management port is open on every address: let only your network reach it.",
        lambda service: when(_is_management_open(service), "$.extra_config.gateway"),
    ),
    Rule(
        "9.1.3",
        "LOW",
        "/__ready tells everybody the names of queues: move it to a management_port.",
        lambda service: when(_is_readiness_public(service)),
    ),
    Rule(
        "9.1.4",
        "LOW",
        "Texts of errors go to clients (router.return_error_msg).",
        lambda service: when(
            root_setting(service, "router", "return_error_msg"), "$.extra_config.router"
        ),
    ),
    Rule(
        "9.2.1",
        "MEDIUM",
        "A token without exp is good for ever: require_exp refuses it.",
        _no_expiry,
    ),
    Rule("9.2.2", "MEDIUM", "Name the audience that tokens must be meant for.", _no_audience),
    Rule("9.2.3", "HIGH", "Keys come over plain HTTP (disable_jwk_security).", _open_keys),
    Rule(
        "9.3.1",
        "HIGH",
        "Limits by address believe X-Forwarded-For of any client: name router.trusted_proxies.",
        _believed_addresses,
    ),
    Rule(
        "9.3.2",
        "MEDIUM",
        "Bodies are as good as unlimited (gateway.max_body_bytes).",
        lambda service: when(_large_bodies(service), "$.extra_config.gateway"),
    ),
)
