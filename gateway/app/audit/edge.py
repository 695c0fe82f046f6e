"""Rules about what clients can reach of this gateway. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from ...components.auth.settings import KeySettings, SignerSettings, ValidatorSettings
from ...components.auth.signer import NAMESPACE as SIGNER
from ...components.auth.sources import find_sources
from ...components.auth.validator import NAMESPACE as VALIDATOR
from ...config.structs import Endpoint, Service
from .amqp import is_local
from .rule import Rule, endpoints, is_http, root_setting, setting, when

LARGE_BODY = 100 * 1024 * 1024
LIMITS_BY_CLIENT = (
    *("qos/ratelimit/router", "qos/ratelimit/router/redis"),
    *("qos/ratelimit/service", "qos/ratelimit/service/redis"),
)


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
    """Those that come over plain HTTP from another machine; ``disable_jwk_security`` alone says
    nothing: keys of a file need it as well.
    """
    for endpoint, path in endpoints(service):
        validator: ValidatorSettings | None = endpoint.extra_config.get(VALIDATOR)
        signer: SignerSettings | None = endpoint.extra_config.get(SIGNER)
        if validator is not None and any(map(_is_open, find_sources(validator, service))):
            yield f'{path}.extra_config["{VALIDATOR}"]'
        if signer is not None and _is_open(signer):
            yield f'{path}.extra_config["{SIGNER}"]'


def _is_open(source: KeySettings) -> bool:
    urls = map(urlsplit, source.urls)
    return any(url.scheme == "http" and not is_local(url.hostname) for url in urls)


def _believed_addresses(service: Service) -> Iterator[str]:
    """Limits by the address of the client, which any client may choose."""
    if not root_setting(service, "router", "forwarded_by_client_ip", True):
        return
    trusted = root_setting(service, "router", "trusted_proxies") or ("0.0.0.0/0",)
    if not any(network.endswith("/0") for network in trusted):
        return
    levels: list[tuple[Service | Endpoint, str]] = [(service, "$"), *endpoints(service)]
    for level, path in levels:
        for name in LIMITS_BY_CLIENT:
            limit = level.extra_config.get(name)
            if limit is not None and limit.client_max_rate and limit.strategy.lower() == "ip":
                yield f'{path}.extra_config["{name}"]'


def _large_bodies(service: Service) -> bool:
    largest: int = root_setting(service, "gateway", "max_body_bytes", 0)
    return largest > LARGE_BODY


def _is_management_open(service: Service) -> bool:
    port = root_setting(service, "gateway", "management_port")
    return port is not None and not (service.listen_ip and is_local(service.listen_ip))


def _is_readiness_public(service: Service) -> bool:
    if root_setting(service, "router", "disable_health"):
        return False
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
    Rule(
        "9.2.3",
        "HIGH",
        "Keys come over plain HTTP (jwk_url): whoever changes them on the way can make tokens.",
        _open_keys,
    ),
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
