"""KrakenD's configuration as frozen Structs: its names, its defaults.

Durations are seconds as float, ``None`` where the file says nothing and a default is taken from
elsewhere. ``extra_config`` holds decoded settings by their current namespace. Only what the
walker has normalised is decoded into these, so they carry no leniency of their own.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Meta, Struct, field
from msgspec.structs import FieldInfo
from msgspec.structs import fields as fields_of

T = TypeVar("T")

Seconds: TypeAlias = Annotated[float, Meta(description="a duration in Go's notation")]


class OwnKey:
    """Marks keys that KrakenD does not have."""


Own: TypeAlias = Annotated[T, OwnKey()]
"""``Own[bool]``: the type of a key that KrakenD does not have."""


@cache
def own_keys(settings: type[Struct]) -> frozenset[str]:
    """The keys of a Struct that KrakenD does not have."""
    hints = get_type_hints(settings, include_extras=True)
    return frozenset(name for name, hint in hints.items() if _is_own(hint))


def changed(settings: Struct) -> frozenset[str]:
    """The keys of a Struct that differ from their defaults."""
    return frozenset(
        field.name
        for field in fields_of(settings)
        if getattr(settings, field.name) != _default(field)
    )


def _default(info: FieldInfo) -> Any:
    return info.default if info.default_factory is NODEFAULT else info.default_factory()


def without_own(hint: Any) -> Any:
    """A type without the mark."""
    if not _is_own(hint):
        return hint
    kind, *marks = get_args(hint)
    others = tuple(mark for mark in marks if not isinstance(mark, OwnKey))
    return Annotated[(kind, *others)] if others else kind


def _is_own(hint: Any) -> bool:
    is_annotated = get_origin(hint) is Annotated
    return is_annotated and any(isinstance(mark, OwnKey) for mark in get_args(hint))


"""A duration: text such as "2s" in the file, seconds here."""

Extra: TypeAlias = dict[str, Any]
"""Namespace -> its settings Struct; what no component knows is left out and reported."""


class Backend(Struct, frozen=True, kw_only=True):
    """One source of an endpoint's answer."""

    url_pattern: str = ""
    host: tuple[str, ...] = ()
    disable_host_sanitize: bool = False
    method: str = ""
    encoding: str = "json"
    is_collection: bool = False
    target: str = ""
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    mapping: dict[str, str] = {}
    group: str = ""
    sd: str = "static"
    sd_scheme: str = "http"
    input_headers: tuple[str, ...] = ()
    input_query_strings: tuple[str, ...] = ()
    extra_config: Extra = {}


class Endpoint(Struct, frozen=True, kw_only=True):
    """A route and the backends behind it. ``timeout`` in seconds, ``cache_ttl`` in seconds."""

    endpoint: str = "/"
    method: str = "GET"
    backend: tuple[Backend, ...] = ()
    timeout: Seconds = 2.0
    cache_ttl: Seconds = 0.0
    output_encoding: str = "json"
    input_headers: tuple[str, ...] = ()
    input_query_strings: tuple[str, ...] = ()
    concurrent_calls: int = 1
    extra_config: Extra = {}


class AgentConsumer(Struct, frozen=True, kw_only=True):
    topic: str = ""
    workers: int = 1
    timeout: Seconds = 2.0
    max_rate: float = 0.0


class AgentConnection(Struct, frozen=True, kw_only=True):
    max_retries: int = 0
    backoff_strategy: str = "fallback"
    health_interval: Seconds = 1.0


class Agent(Struct, frozen=True, kw_only=True):
    """A consumer without a request, and the backends its messages go to.

    ``encoding`` is read and has no effect, as in KrakenD.
    """

    name: str = ""
    consumer: AgentConsumer = AgentConsumer()
    connection: AgentConnection = AgentConnection()
    encoding: str = "json"
    backend: tuple[Backend, ...] = ()
    extra_config: Extra = {}


class AgentPipe(Endpoint, frozen=True, kw_only=True):
    """An agent's backends as an endpoint that has no route.

    Any 2xx of a backend is a success, whatever its body.
    """


DEFAULT_GRACE = 30.0
"""Seconds for what is running at a stop; KrakenD's 0 means for ever."""


class ClientCertificate(Struct, frozen=True, kw_only=True):
    """Paths of PEM files."""

    certificate: str = ""
    private_key: str = ""


class ClientTls(Struct, frozen=True, kw_only=True):
    """``client_tls``: how HTTPS backends are spoken to. ``ca_certs``: paths of PEM files."""

    allow_insecure_connections: bool = False
    ca_certs: tuple[str, ...] = ()
    disable_system_ca_pool: bool = False
    client_certs: tuple[ClientCertificate, ...] = ()
    min_version: str = "TLS13"
    max_version: str = "TLS13"
    curve_preferences: tuple[int, ...] = ()
    cipher_suites: tuple[int, ...] = ()


class TlsKey(Struct, frozen=True, kw_only=True):
    """Paths of PEM files: a certificate, with those between it and its root, and its key."""

    public_key: str = ""
    private_key: str = ""


class Tls(Struct, frozen=True, kw_only=True):
    """``tls``: HTTPS of the service. ``ca_certs``: paths of PEM files, of who may sign clients'.

    ``prefer_server_cipher_suites`` has no effect, as in KrakenD.
    """

    disabled: bool = False
    public_key: str = ""
    private_key: str = ""
    keys: tuple[TlsKey, ...] = ()
    enable_mtls: bool = False
    ca_certs: tuple[str, ...] = ()
    disable_system_ca_pool: bool = False
    min_version: str = "TLS13"
    max_version: str = "TLS13"
    curve_preferences: tuple[int, ...] = ()
    cipher_suites: tuple[int, ...] = ()
    prefer_server_cipher_suites: bool = False


class Service(Struct, frozen=True, kw_only=True):
    """The root of a configuration file (``"version": 3``)."""

    version: int = 3
    name: str = ""
    port: int = 8080
    listen_ip: str = ""
    timeout: Seconds = 2.0
    cache_ttl: Seconds = 0.0
    host: tuple[str, ...] = ()
    output_encoding: str = "json"
    endpoints: tuple[Endpoint, ...] = ()
    async_agent: tuple[Agent, ...] = ()
    debug_endpoint: bool = False
    echo_endpoint: bool = False
    disable_rest: bool = False
    sequential_start: bool = False
    use_h2c: bool = False
    read_timeout: Seconds = 0.0
    write_timeout: Seconds = 0.0
    idle_timeout: Seconds = 0.0
    read_header_timeout: Seconds = 0.0
    max_header_bytes: int = 1_000_000
    max_shutdown_wait_time: Seconds = 0.0
    dialer_timeout: Seconds = 0.0
    dialer_fallback_delay: Seconds = 0.3
    dialer_keep_alive: Seconds = 15.0
    disable_compression: bool = False
    disable_keep_alives: bool = False
    max_idle_connections: int = 0
    max_idle_connections_per_host: int = 250
    idle_connection_timeout: Seconds = 0.0
    response_header_timeout: Seconds = 0.0
    expect_continue_timeout: Seconds = 0.0
    dns_cache_ttl: Seconds = 30.0
    tls: Tls | None = None
    client_tls: ClientTls | None = None
    allow_insecure_connections: bool = False
    plugin: dict[str, Any] | None = None
    extra_config: Extra = field(default_factory=dict)

    @property
    def router(self) -> RouterSettings:
        """``router`` of ``extra_config``."""
        settings: RouterSettings = self.extra_config.get("router", DEFAULT_ROUTER)
        return settings

    @property
    def gateway(self) -> GatewaySettings:
        """``gateway`` of ``extra_config``."""
        settings: GatewaySettings = self.extra_config.get("gateway", DEFAULT_GATEWAY)
        return settings


class RouterSettings(Struct, frozen=True, kw_only=True):
    """``router`` on the service: KrakenD's options for what stands around the endpoints."""

    return_error_msg: bool = False
    error_body: dict[str, Any] = {}
    health_path: str = "/__health"
    disable_health: bool = False
    hide_version_header: bool = False
    disable_redirect_fixed_path: bool = False
    disable_redirect_trailing_slash: bool = False
    disable_handle_method_not_allowed: bool = False
    disable_path_decoding: bool = False
    auto_options: bool = False
    forwarded_by_client_ip: bool = True
    trusted_proxies: tuple[str, ...] = ()
    remote_ip_headers: tuple[str, ...] = ()
    logger_skip_paths: tuple[str, ...] = ()
    disable_access_log: bool = False
    disable_gzip: bool = False
    app_engine: bool = False
    max_multipart_memory: int = 0
    remove_extra_slash: bool = False
    use_h2c: bool = False


class GatewaySettings(Struct, frozen=True, kw_only=True):
    """``gateway`` on the service: what is ours alone.

    ``max_body_bytes``: the largest request body. ``body_timeout``: seconds a client may take to
    send a body; ``answer_timeout``: to read an answer. ``max_connections``, ``max_requests``:
    at the same time, in one process. ``management_port``: where ``/__health``, ``/__ready`` and
    ``/metrics`` are served instead of the public port; ``management_tls``: under the service's
    ``tls``. ``http2``: it has to be spoken, so another server serves. ``http3``: it is spoken, too,
    over UDP. ``buffer_bytes``: the bound of one subscription's buffer. ``max_unconfirmed``:
    messages that are written to one exchange and not confirmed yet; further ones wait.
    ``max_answer_bytes``: the largest answer of an HTTP backend. ``ignore_plugins``: Go plugins
    without which the configuration may run. ``max_unsent_bytes``: of answers that clients have
    not taken yet, in one process; ``max_connection_unsent_bytes``: of one connection of HTTP/2 or
    HTTP/3, beyond which its further requests wait.
    """

    krakend_statuses: bool = False
    max_body_bytes: int = 16 * 1024 * 1024
    header_timeout: Seconds = 10.0
    body_timeout: Seconds = 60.0
    answer_timeout: Seconds = 60.0
    idle_timeout: Seconds = 75.0
    max_connections: int = 10_000
    max_requests: int = 5_000
    max_unsent_bytes: int = 256 * 1024 * 1024
    max_connection_unsent_bytes: int = 16 * 1024 * 1024
    management_port: int | None = None
    management_tls: bool = False
    http2: bool = False
    http3: bool = False
    ready_path: str = "/__ready"
    buffer_bytes: int = 64 * 1024 * 1024
    max_unconfirmed: int = 2_000
    max_answer_bytes: int = 64 * 1024 * 1024
    ignore_plugins: tuple[str, ...] = ()


DEFAULT_ROUTER = RouterSettings()
DEFAULT_GATEWAY = GatewaySettings()
