"""The rules about the service itself: TLS, timeouts, endpoints, and how backends are combined."""

from __future__ import annotations

from collections.abc import Iterator

from ...config.structs import Backend, Endpoint, Service
from ...core.families import BrokerSettings, settings_of
from ...core.rule import FindPlaces, Rule, when, where_endpoint

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
AGENTS_AT_ONCE = 10


def _insecure(service: Service) -> Iterator[str]:
    yield from when(service.allow_insecure_connections, "$.allow_insecure_connections")
    tls = service.client_tls
    yield from when(tls is not None and tls.allow_insecure_connections, "$.client_tls")


def _longer_than(seconds: float) -> FindPlaces:
    return where_endpoint(lambda endpoint: endpoint.timeout > seconds)


def _several_writes(endpoint: Endpoint) -> bool:
    return sum(_writes(backend) for backend in endpoint.backend) > 1


def _writes(backend: Backend) -> bool:
    """A consumer writes nothing, whatever the method of its endpoint is."""
    broker = settings_of(backend, BrokerSettings)
    return backend.method.upper() in UNSAFE and (broker is None or broker.writes)


def _has_single_key(service: Service) -> bool:
    tls = service.tls
    return tls is not None and bool(tls.private_key or tls.public_key)


RULES = (
    Rule("2.1.1", "HIGH", "Check the certificates of backends.", _insecure),
    Rule(
        "2.1.2",
        "HIGH",
        "Enable TLS, or end it in front of the gateway.",
        lambda service: when(service.tls is None),
    ),
    Rule(
        "2.1.3",
        "CRITICAL",
        "TLS is configured, and disabled by its flag.",
        lambda service: when(service.tls is not None and service.tls.disabled, "$.tls"),
    ),
    Rule(
        "2.1.8",
        "HIGH",
        "Avoid HTTP/2 in clear text (h2c).",
        lambda service: when(service.use_h2c or service.router.use_h2c),
    ),
    Rule(
        "2.2.3",
        "HIGH",
        "Do not pass all headers to backends.",
        where_endpoint(lambda endpoint: "*" in endpoint.input_headers),
    ),
    Rule(
        "2.2.4",
        "HIGH",
        "Do not pass all query strings to backends.",
        where_endpoint(lambda endpoint: "*" in endpoint.input_query_strings),
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
        where_endpoint(lambda endpoint: endpoint.endpoint.endswith("*")),
    ),
    Rule(
        "5.1.5",
        "MEDIUM",
        "Declare endpoints instead of /__catchall.",
        where_endpoint(lambda endpoint: endpoint.endpoint == "/__catchall"),
    ),
    Rule(
        "5.1.6",
        "MEDIUM",
        "Do not write to several backends in one endpoint.",
        where_endpoint(_several_writes),
    ),
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
        lambda service: when(_has_single_key(service), "$.tls"),
    ),
)
