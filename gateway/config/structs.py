"""KrakenD's configuration as frozen Structs: its names, its defaults, the meaning of each key.

Durations are seconds as float; ``None`` means that the key is absent and its default is not a
constant. The Structs tolerate nothing: ``struct_walker.py`` converts what KrakenD tolerates.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Meta, Struct, field
from msgspec.structs import FieldInfo
from msgspec.structs import fields as fields_of

T = TypeVar("T")

Seconds: TypeAlias = Annotated[float, Meta(description="a duration in Go's notation")]
"""A duration: a string such as "2s" in the file, seconds here."""


class OwnKey:
    """Marks extensions: keys that KrakenD does not have."""


Own: TypeAlias = Annotated[T, OwnKey()]
"""``Own[bool]``: the type of an extension."""


@cache
def own_keys(settings: type[Struct]) -> frozenset[str]:
    """The extensions among the keys of a Struct."""
    hints = get_type_hints(settings, include_extras=True)
    return frozenset(name for name, hint in hints.items() if _is_own(hint))


def changed(settings: Struct) -> frozenset[str]:
    """The keys of a Struct that differ from their defaults."""
    return frozenset(
        field.name
        for field in fields_of(settings)
        if getattr(settings, field.name) != _default(field)
    )


def _default(info: FieldInfo) -> object:
    return info.default if info.default_factory is NODEFAULT else info.default_factory()


def without_own(hint: object) -> object:
    """A type without the mark of an extension."""
    if not _is_own(hint):
        return hint
    kind, *marks = get_args(hint)
    others = tuple(mark for mark in marks if not isinstance(mark, OwnKey))
    return Annotated[(kind, *others)] if others else kind


def _is_own(hint: object) -> bool:
    is_annotated = get_origin(hint) is Annotated
    return is_annotated and any(isinstance(mark, OwnKey) for mark in get_args(hint))


Extra: TypeAlias = dict[str, Any]
"""Current name of a namespace -> its settings Struct. Unknown namespaces are not in it."""


class Backend(Struct, frozen=True, kw_only=True):
    """One source of an endpoint's response: a queue, an exchange or an HTTP server."""

    url_pattern: str = ""
    """The path of the request to an HTTP backend. ``{name}`` is a parameter of the endpoint."""
    host: tuple[str, ...] = ()
    """URLs of servers or brokers, such as "http://users:8080". Empty: those of the root."""
    disable_host_sanitize: bool = False
    """Use ``host`` as it is written. A broker needs it, and so does an URL with a login or path."""
    method: str = ""
    """The HTTP method of the request to the backend. Absent: the endpoint's."""
    encoding: str = "json"
    """How the body of a response or message is decoded: "json", "safejson", "xml", "rss", "string"
    or "no-op" (passed on as it is)."""
    is_collection: bool = False
    """The body is a JSON array; it becomes the key ``collection``."""
    target: str = ""
    """The dotted path of the object to use. Everything outside of it is dropped."""
    allow: tuple[str, ...] = ()
    """Dotted paths of the keys to keep. Empty: all. With it ``deny`` has no effect."""
    deny: tuple[str, ...] = ()
    """Dotted paths of the keys to drop."""
    mapping: dict[str, str] = {}
    """Keys of the first level to rename: old name -> new name."""
    group: str = ""
    """The key of the endpoint's response for the document. Empty: the first level."""
    sd: str = "static"
    """Where the hosts come from: "static" (``host``), or "dns" (SRV records of the first one)."""
    sd_scheme: str = "http"
    """The scheme of the hosts that ``sd: dns`` finds."""
    input_headers: tuple[str, ...] = ()
    """The headers that the backend gets, of those that the endpoint lets through. Empty: all of
    these."""
    input_query_strings: tuple[str, ...] = ()
    """The query parameters that the backend gets, of those that the endpoint lets through. Empty:
    all of these."""
    extra_config: Extra = {}
    """The namespaces of the backend and their settings."""


class Endpoint(Struct, frozen=True, kw_only=True):
    """A route and the backends that it calls."""

    endpoint: str = "/"
    """The path of the route. ``{name}`` is a parameter."""
    method: str = "GET"
    """GET, POST, PUT, PATCH or DELETE. An endpoint with another method is left out."""
    backend: tuple[Backend, ...] = ()
    """The backends. They are called at the same time, and their responses are merged."""
    timeout: Seconds = 2.0
    """The longest time for the backends of a request; several backends have 85 % of it."""
    cache_ttl: Seconds = 0.0
    """``max-age`` of the ``Cache-Control`` header of complete responses. 0: no such header."""
    output_encoding: str = "json"
    """The encoding of the response: "json", "json-collection", "string", "xml", "yaml", "negotiate"
    (by the ``Accept`` header) or "no-op"."""
    input_headers: tuple[str, ...] = ()
    """The headers of the client that backends may get. "*": all. Empty: none."""
    input_query_strings: tuple[str, ...] = ()
    """The query parameters of the client that backends may get. "*": all. Empty: none."""
    concurrent_calls: int = 1
    """How many equal requests are sent to each backend at the same time; the first response is
    used. Consumers and producers are always called once."""
    extra_config: Extra = {}
    """The namespaces of the endpoint and their settings."""


class AgentConsumer(Struct, frozen=True, kw_only=True):
    """``consumer``: which messages an agent takes, and how fast."""

    topic: str = ""
    """The routing key of the binding between exchange and queue."""
    workers: int = 1
    """How many messages are worked on at the same time. At least 1."""
    timeout: Seconds = 2.0
    """The longest time for the backends of one message; several backends have 85 % of it."""
    max_rate: float = 0.0
    """Messages a second on average. 0: no limit."""


class AgentConnection(Struct, frozen=True, kw_only=True):
    """``connection``: how an agent connects to its broker again."""

    max_retries: int = 0
    """Attempts to connect in a row. 0 or less: no limit."""
    backoff_strategy: str = "fallback"
    """The time between attempts: "linear", "linear-jitter", "exponential", "exponential-jitter" or
    "fallback" (one second)."""
    health_interval: Seconds = 1.0
    """Read, but without effect: health is always up to date."""


class Agent(Struct, frozen=True, kw_only=True):
    """Takes messages without a request of a client, and sends each of them to its backends."""

    name: str = ""
    """The name in the log and in health responses. Absent: "AsyncAgent-01" and so on."""
    consumer: AgentConsumer = AgentConsumer()
    """Which messages the agent takes, and how fast."""
    connection: AgentConnection = AgentConnection()
    """How the agent connects to its broker again."""
    encoding: str = "json"
    """Read, but without effect, as in KrakenD."""
    backend: tuple[Backend, ...] = ()
    """The backends that get each message. It is acknowledged when all of them succeeded."""
    extra_config: Extra = {}
    """The namespaces of the agent and their settings: ``async/amqp`` names the broker."""


class AgentPipe(Endpoint, frozen=True, kw_only=True):
    """The backends of an agent as an endpoint that has no route.

    Any 2xx of a backend is a success, whatever its body is.
    """


DEFAULT_GRACE = 30.0
"""Seconds that running requests have at a stop when ``max_shutdown_wait_time`` is 0. In KrakenD 0
means no limit."""


class ClientCertificate(Struct, frozen=True, kw_only=True):
    """A certificate that the gateway shows to HTTPS backends."""

    certificate: str = ""
    """The path of a PEM file: the certificate."""
    private_key: str = ""
    """The path of a PEM file: the key of the certificate."""


class ClientTls(Struct, frozen=True, kw_only=True):
    """``client_tls``: TLS of the connections to HTTPS backends."""

    allow_insecure_connections: bool = False
    """Do not verify the certificates of backends."""
    ca_certs: tuple[str, ...] = ()
    """Paths of PEM files: further certificate authorities of backends."""
    disable_system_ca_pool: bool = False
    """Accept only the authorities in ``ca_certs``, not those of the system."""
    client_certs: tuple[ClientCertificate, ...] = ()
    """Certificates that the gateway shows. Of several with one kind of key the last is used."""
    min_version: str = "TLS13"
    """The oldest version: "SSL3.0" (means TLS 1.0), "TLS10", "TLS11", "TLS12" or "TLS13"."""
    max_version: str = "TLS13"
    """The newest version."""
    curve_preferences: tuple[int, ...] = ()
    """Numbers of elliptic curves. Only a single 23, 24 or 25 has an effect."""
    cipher_suites: tuple[int, ...] = ()
    """Numbers of the cipher suites of TLS 1.2 and older. Empty: OpenSSL's."""


class TlsKey(Struct, frozen=True, kw_only=True):
    """A certificate of the service and its key."""

    public_key: str = ""
    """The path of a PEM file: the certificate, then its intermediate certificates."""
    private_key: str = ""
    """The path of a PEM file: the key of the certificate."""


class Tls(Struct, frozen=True, kw_only=True):
    """``tls``: HTTPS of the service."""

    disabled: bool = False
    """Serve plain HTTP and ignore all other keys."""
    public_key: str = ""
    """The older form of ``keys``, for one certificate: the path of its PEM file."""
    private_key: str = ""
    """The older form of ``keys``: the path of the key's PEM file."""
    keys: tuple[TlsKey, ...] = ()
    """Certificates. A client gets the one for the name that it connects to, else the first."""
    enable_mtls: bool = False
    """Require a certificate of each client."""
    ca_certs: tuple[str, ...] = ()
    """Paths of PEM files: certificate authorities of clients."""
    disable_system_ca_pool: bool = False
    """Accept only the authorities in ``ca_certs``, not those of the system."""
    min_version: str = "TLS13"
    """The oldest version: "SSL3.0" (means TLS 1.0), "TLS10", "TLS11", "TLS12" or "TLS13"."""
    max_version: str = "TLS13"
    """The newest version."""
    curve_preferences: tuple[int, ...] = ()
    """Numbers of elliptic curves. Only a single 23, 24 or 25 has an effect."""
    cipher_suites: tuple[int, ...] = ()
    """Numbers of the cipher suites of TLS 1.2 and older. Empty: OpenSSL's."""
    prefer_server_cipher_suites: bool = False
    """Read, but without effect, as in KrakenD."""


class Service(Struct, frozen=True, kw_only=True):
    """The root of a configuration file."""

    version: int = 3
    """The version of the format. It must be 3."""
    name: str = ""
    """A name for people. Gateways of one name share the rate limits that they keep in Redis."""
    port: int = 8080
    """The TCP port to listen on. 0: any free port."""
    listen_ip: str = ""
    """The IP address to listen on. Empty: all addresses."""
    timeout: Seconds = 2.0
    """The timeout of endpoints and agents without one."""
    cache_ttl: Seconds = 0.0
    """The ``cache_ttl`` of endpoints without one."""
    host: tuple[str, ...] = ()
    """The hosts of backends without one."""
    output_encoding: str = "json"
    """The output encoding of endpoints without one."""
    endpoints: tuple[Endpoint, ...] = ()
    """The routes."""
    async_agent: tuple[Agent, ...] = ()
    """The agents."""
    debug_endpoint: bool = False
    """Serve ``/__debug/``, which responds with "pong"."""
    echo_endpoint: bool = False
    """Serve ``/__echo/``, which responds with the request."""
    disable_rest: bool = False
    """Allow paths in which a parameter follows text in its segment."""
    sequential_start: bool = False
    """Read, but without effect."""
    use_h2c: bool = False
    """Serve HTTP/2 without TLS, with hypercorn."""
    read_timeout: Seconds = 0.0
    """The longest time for a client to send a body. 0: ``body_timeout`` of ``gateway``."""
    write_timeout: Seconds = 0.0
    """The longest time for a client to read a response. 0: ``answer_timeout`` of ``gateway``."""
    idle_timeout: Seconds = 0.0
    """The longest time between two requests of a connection. 0: that of ``gateway``."""
    read_header_timeout: Seconds = 0.0
    """The longest time for a client to send the headers. 0: ``header_timeout`` of ``gateway``."""
    max_header_bytes: int = 1_000_000
    """The largest size of all headers of a request. More than 64 KiB counts as 64 KiB."""
    max_shutdown_wait_time: Seconds = 0.0
    """The time that running requests and messages have at a stop. 0: 30 s."""
    dialer_timeout: Seconds = 0.0
    """The longest time to connect to an HTTP backend. 0: only the endpoint's timeout."""
    dialer_fallback_delay: Seconds = 0.3
    """Read, but without effect."""
    dialer_keep_alive: Seconds = 15.0
    """The interval of TCP keep-alive probes to HTTP backends. 0: 15 s. Negative: no probes."""
    disable_compression: bool = False
    """Do not request compressed responses of HTTP backends."""
    disable_keep_alives: bool = False
    """Close the connection to an HTTP backend after each request."""
    max_idle_connections: int = 0
    """The largest number of idle connections to all HTTP backends together. 0: no limit."""
    max_idle_connections_per_host: int = 250
    """The largest number of idle connections to one HTTP backend. 0: 250."""
    idle_connection_timeout: Seconds = 0.0
    """The time until an idle connection to an HTTP backend is closed. 0: no limit."""
    response_header_timeout: Seconds = 0.0
    """The longest time for the headers of an HTTP backend's response. 0: only the endpoint's
    timeout."""
    expect_continue_timeout: Seconds = 0.0
    """Read, but without effect."""
    dns_cache_ttl: Seconds = 30.0
    """The time between two lookups of the hosts with ``sd: dns``."""
    tls: Tls | None = None
    """HTTPS of the service. Absent: plain HTTP."""
    client_tls: ClientTls | None = None
    """TLS of the connections to HTTPS backends."""
    allow_insecure_connections: bool = False
    """The older form of ``allow_insecure_connections`` in ``client_tls``."""
    plugin: dict[str, Any] | None = None
    """Read, but without effect: Go plugins cannot be loaded."""
    extra_config: Extra = field(default_factory=dict)
    """The namespaces of the root and their settings."""

    @property
    def router(self) -> RouterSettings:
        """The settings under ``router`` in ``extra_config``, else their defaults."""
        settings: RouterSettings = self.extra_config.get("router", DEFAULT_ROUTER)
        return settings

    @property
    def gateway(self) -> GatewaySettings:
        """The settings under ``gateway`` in ``extra_config``, else their defaults."""
        settings: GatewaySettings = self.extra_config.get("gateway", DEFAULT_GATEWAY)
        return settings


class RouterSettings(Struct, frozen=True, kw_only=True):
    """``router`` on the service: KrakenD's options for everything around the endpoints."""

    return_error_msg: bool = False
    """Send the text of an error to the client as the body of the response."""
    error_body: dict[str, Any] = {}
    """JSON bodies of the responses to unknown paths ("404") and methods ("405")."""
    health_path: str = "/__health"
    """The path of the health check."""
    disable_health: bool = False
    """Do not serve health and readiness."""
    hide_version_header: bool = False
    """Send "undefined" instead of the version in the header ``X-Krakend``."""
    disable_redirect_fixed_path: bool = False
    """Do not redirect a path in other letter case, or with "//" or ".." in it, to its endpoint."""
    disable_redirect_trailing_slash: bool = False
    """Do not redirect a path with or without a final "/" to its endpoint."""
    disable_handle_method_not_allowed: bool = False
    """Respond with 404 instead of 405 to an unknown method of a known path."""
    disable_path_decoding: bool = False
    """Do not refuse path parameters that have another meaning in a URL."""
    auto_options: bool = False
    """Respond to OPTIONS requests of every path with the methods that it has."""
    forwarded_by_client_ip: bool = True
    """Take the client's address from the headers of trusted proxies. False: from the connection."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of proxies, such as "10.0.0.0/8". Empty: every address is trusted."""
    remote_ip_headers: tuple[str, ...] = ()
    """Headers with the client's address. Empty: ``X-Forwarded-For`` and ``X-Real-Ip``."""
    logger_skip_paths: tuple[str, ...] = ()
    """Paths whose requests have no line in the access log, such as "/__health"."""
    disable_access_log: bool = False
    """Whether there is no access log. There is one only with `telemetry/logging`."""
    disable_gzip: bool = False
    """Read, but without effect."""
    app_engine: bool = False
    """Read, but without effect."""
    max_multipart_memory: int = 0
    """Read, but without effect."""
    remove_extra_slash: bool = False
    """Treat "//" in a path as "/"."""
    use_h2c: bool = False
    """Read, but without effect: the key of the root counts."""


class GatewaySettings(Struct, frozen=True, kw_only=True):
    """``gateway`` on the service. All of its keys are extensions."""

    krakend_statuses: bool = False
    """Respond with 500 to every failure of a broker, as KrakenD does."""
    max_body_bytes: int = 16 * 1024 * 1024
    """The largest body of a request. Beyond it: 413."""
    header_timeout: Seconds = 10.0
    """The longest time for a client to send the headers of a request. Beyond it: 408. If the root
    has ``read_header_timeout``, that is used instead."""
    body_timeout: Seconds = 60.0
    """The longest time for a client to send a body. Beyond it: 408. If the root has
    ``read_timeout``, that is used instead."""
    answer_timeout: Seconds = 60.0
    """The longest time for a client to read a response. Then the connection is closed, and messages
    go back to their queue. If the root has ``write_timeout``, that is used instead."""
    idle_timeout: Seconds = 75.0
    """The longest time between two requests of a connection. If the root has
    ``idle_timeout``, that is used instead."""
    max_connections: int = 10_000
    """The largest number of connections of clients in one process. Beyond it: 503."""
    max_requests: int = 5_000
    """The largest number of requests at the same time in one process. Beyond it: 503."""
    max_unsent_bytes: int = 256 * 1024 * 1024
    """The largest size of the responses in one process that clients did not read yet. Beyond it
    the slowest clients are disconnected."""
    max_connection_unsent_bytes: int = 16 * 1024 * 1024
    """The same for one connection of HTTP/2 or HTTP/3. Beyond it its further requests wait."""
    management_port: int | None = None
    """The port for health and readiness. Absent: they are served on the public port."""
    management_tls: bool = False
    """Serve the management port with the service's ``tls`` instead of plain HTTP."""
    http2: bool = False
    """Serve HTTP/2, with hypercorn."""
    http3: bool = False
    """Serve HTTP/3, too, over UDP on the same port. It needs ``tls``."""
    request_id: bool = False
    """Give each request an id: the client's `X-Request-Id`, or a new one. The response and the
    backends get it as `X-Request-Id`."""
    propagate: bool = False
    """Pass the trace context of clients on to backends and into messages, whatever `input_headers`
    say. With ``telemetry/opentelemetry`` that is always so."""
    ready_path: str = "/__ready"
    """The path of the readiness check: 200 when every connection and queue is ready, else 503."""
    shuffle: bool = False
    """Try the brokers in ``host`` in a random order, which each process chooses for each of its
    connections: many gateways spread over the nodes of a cluster. False: in their order."""
    buffer_bytes: int = 64 * 1024 * 1024
    """The largest size of the unsettled messages of one subscription."""
    max_unconfirmed: int = 2_000
    """The largest number of unconfirmed messages of one exchange. Beyond it requests wait."""
    max_answer_bytes: int = 64 * 1024 * 1024
    """The largest response of an HTTP backend, except with "no-op". Beyond it the backend fails."""
    ignore_plugins: tuple[str, ...] = ()
    """Names of Go plugins that the configuration may run without."""


DEFAULT_ROUTER = RouterSettings()
DEFAULT_GATEWAY = GatewaySettings()
