"""KrakenD's rules, under its numbers (krakend-audit, audit.go), as far as they mean something here.

Not here: those about gRPC, plugins, telemetry and settings that this gateway does not have
(``check`` names them), and those whose fault stops the start anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...config.structs import Endpoint, Service
from ...core.rule import (
    CONSUMER,
    LIMITS,
    Rule,
    backends,
    endpoints,
    is_anywhere,
    is_http,
    setting,
    when,
)

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
AGENTS_AT_ONCE = 10


def _of_endpoints(condition: Callable[[Endpoint], object]) -> Callable[[Service], Iterator[str]]:
    return lambda service: (path for endpoint, path in endpoints(service) if condition(endpoint))


def _with(namespace: str) -> Callable[[Service], Iterator[str]]:
    """Where the namespace stands, on the service or on endpoints."""

    def places(service: Service) -> Iterator[str]:
        yield from when(namespace in service.extra_config)
        yield from _of_endpoints(lambda endpoint: namespace in endpoint.extra_config)(service)

    return places


def _insecure(service: Service) -> Iterator[str]:
    yield from when(service.allow_insecure_connections, "$.allow_insecure_connections")
    yield from when(setting(service.client_tls, "allow_insecure_connections"), "$.client_tls")


def _unlimited_caches(service: Service) -> Iterator[str]:
    for place in backends(service):
        cache = place.backend.extra_config.get("qos/http-cache")
        if cache is not None and not (setting(cache, "max_items") and setting(cache, "max_size")):
            yield place.path


def _no_breaker(service: Service) -> bool:
    """A breaker in front of a queue would open when it is empty: only HTTP backends count."""
    has_http = any(is_http(place.backend) for place in backends(service))
    return has_http and not is_anywhere(service, "qos/circuit-breaker")


def _longer_than(seconds: float) -> Callable[[Service], Iterator[str]]:
    return _of_endpoints(lambda endpoint: endpoint.timeout > seconds)


def _several_writes(endpoint: Endpoint) -> bool:
    """A consumer writes nothing, whatever the method of its endpoint is."""
    writing = [each for each in endpoint.backend if CONSUMER not in each.extra_config]
    return sum(backend.method.upper() in UNSAFE for backend in writing) > 1


def _is_sequential(endpoint: Endpoint) -> object:
    return setting(endpoint.extra_config.get("proxy"), "sequential")


def _no_ending(service: Service) -> bool:
    """Whether a client speaks plain HTTP with the gateway."""
    return service.tls is None


RULES = (
    Rule("1.1.1", "HIGH", "Prefer a more secure way than Basic Auth.", _with("auth/basic")),
    Rule("1.1.2", "MEDIUM", "Prefer tokens (JWT) to API keys.", _with("auth/api-keys")),
    Rule(
        "1.2.1",
        "HIGH",
        "Authorize endpoints with JWT (auth/validator).",
        lambda service: when(
            service.endpoints
            and not any("auth/validator" in each.extra_config for each in service.endpoints)
        ),
    ),
    Rule("2.1.1", "HIGH", "Check the certificates of backends.", _insecure),
    Rule(
        "2.1.2",
        "HIGH",
        "Enable TLS, or end it in front of the gateway.",
        lambda service: when(_no_ending(service)),
    ),
    Rule(
        "2.1.3",
        "CRITICAL",
        "TLS is configured, and disabled by its flag.",
        lambda service: when(setting(service.tls, "disabled"), "$.tls"),
    ),
    Rule(
        "2.1.7",
        "HIGH",
        "Enable the checks of HTTP headers (security/http).",
        lambda service: when("security/http" not in service.extra_config),
    ),
    Rule(
        "2.1.8",
        "HIGH",
        "Avoid HTTP/2 in clear text (h2c).",
        lambda service: when(service.use_h2c or service.router.use_h2c),
    ),
    Rule(
        "2.2.1",
        "MEDIUM",
        "Hide the version (router.hide_version_header).",
        lambda service: when(not service.router.hide_version_header),
    ),
    Rule(
        "2.2.2",
        "HIGH",
        "Configure CORS (security/cors).",
        lambda service: when("security/cors" not in service.extra_config),
    ),
    Rule(
        "2.2.3",
        "HIGH",
        "Do not pass all headers to backends.",
        _of_endpoints(lambda endpoint: "*" in endpoint.input_headers),
    ),
    Rule(
        "2.2.4",
        "HIGH",
        "Do not pass all query strings to backends.",
        _of_endpoints(lambda endpoint: "*" in endpoint.input_query_strings),
    ),
    Rule("2.3.1", "MEDIUM", "Limit what is cached (max_items, max_size).", _unlimited_caches),
    Rule(
        "3.1.1",
        "LOW",
        "Enable the bot detector (security/bot-detector).",
        lambda service: when("security/bot-detector" not in service.extra_config),
    ),
    Rule(
        "3.1.2",
        "HIGH",
        "Limit the rate of requests (qos/ratelimit).",
        lambda service: when(not is_anywhere(service, *LIMITS)),
    ),
    Rule(
        "3.1.3",
        "HIGH",
        "Protect HTTP backends with a circuit breaker (qos/circuit-breaker).",
        lambda service: when(_no_breaker(service)),
    ),
    Rule("3.3.1", "LOW", "Set timeouts of at most 3 seconds.", _longer_than(3)),
    Rule("3.3.2", "MEDIUM", "Set timeouts of at most 5 seconds.", _longer_than(5)),
    Rule("3.3.3", "HIGH", "Set timeouts of at most 30 seconds.", _longer_than(30)),
    Rule("3.3.4", "CRITICAL", "Set timeouts of at most a minute.", _longer_than(60)),
    Rule(
        "5.1.1",
        "LOW",
        "Keep parameters whole segments of a path (disable_rest).",
        lambda service: when(service.disable_rest, "$.disable_rest"),
    ),
    Rule(
        "5.1.2",
        "LOW",
        "Disable /__debug/.",
        lambda service: when(service.debug_endpoint, "$.debug_endpoint"),
    ),
    Rule(
        "5.1.3",
        "LOW",
        "Disable /__echo/.",
        lambda service: when(service.echo_endpoint, "$.echo_endpoint"),
    ),
    Rule(
        "5.1.4",
        "LOW",
        "Declare endpoints instead of wildcards.",
        _of_endpoints(lambda endpoint: endpoint.endpoint.endswith("*")),
    ),
    Rule(
        "5.1.5",
        "MEDIUM",
        "Declare endpoints instead of /__catchall.",
        _of_endpoints(lambda endpoint: endpoint.endpoint == "/__catchall"),
    ),
    Rule(
        "5.1.6",
        "MEDIUM",
        "Do not write to several backends in one endpoint.",
        _of_endpoints(_several_writes),
    ),
    Rule("5.1.7", "MEDIUM", "Avoid sequences of backends.", _of_endpoints(_is_sequential)),
    Rule(
        "5.2.2",
        "LOW",
        "Let endpoints join several backends.",
        lambda service: when(
            service.endpoints and all(len(each.backend) < 2 for each in service.endpoints)
        ),
    ),
    Rule(
        "5.2.3",
        "LOW",
        "Do not couple clients to backends: every endpoint is no-op.",
        lambda service: when(
            service.endpoints and all(each.output_encoding == "no-op" for each in service.endpoints)
        ),
    ),
    Rule(
        "6.1.1",
        "LOW",
        "Do not start ten agents or more one after the other (sequential_start).",
        lambda service: when(
            service.sequential_start and len(service.async_agent) >= AGENTS_AT_ONCE
        ),
    ),
    Rule(
        "7.3.1",
        "MEDIUM",
        "Use tls.keys instead of private_key and public_key.",
        lambda service: when(
            setting(service.tls, "private_key") or setting(service.tls, "public_key"), "$.tls"
        ),
    ),
)
