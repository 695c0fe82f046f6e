"""The settings of the namespaces of ``auth/``."""

from __future__ import annotations

from msgspec import Struct

from ...config.structs import Own, Seconds
from ...core.families import AuthenticationSettings

API_KEYS, SIGNER, VALIDATOR = "auth/api-keys", "auth/signer", "auth/validator"

UNCACHED_KEYS_LIFETIME = 60.0
"""Seconds between two fetches of keys without ``cache``. KrakenD fetches for each request."""


class KeySettings(Struct, frozen=True, kw_only=True):
    """The keys of ``auth/validator`` and ``auth/signer``."""

    alg: str = "RS256"
    """The algorithm of the tokens: `HS256`, `HS384`, `HS512`, the same with `RS`, `ES` or `PS`, or
    `EdDSA`."""
    jwk_url: str = ""
    """The URL of a JWK Set. It must be `https://` without `disable_jwk_security`."""
    jwk_local_path: str = ""
    """The path of a JWK Set. It is used instead of `jwk_url`, and needs `disable_jwk_security`."""
    jwk_local_ca: str = ""
    """The path of a PEM file with further CA certificates for `jwk_url`."""
    jwk_fingerprints: tuple[str, ...] = ()
    """SHA-256 of the public keys that the key server may have, in base64url. Absent: any key."""
    cipher_suites: tuple[int, ...] = ()
    """IANA numbers of the cipher suites for `jwk_url`, for TLS 1.2. Absent: the usual ones."""
    disable_jwk_security: bool = False
    """Keys may come over plain HTTP, over TLS without a verified certificate, or from a file."""
    secret_url: str = ""
    """Not implemented; stops the start."""
    cypher_key: str = ""
    """Not implemented; stops the start."""

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs that are used."""
        return (self.jwk_url,) if self.jwk_url and not self.jwk_local_path else ()

    @property
    def is_insecure(self) -> bool:
        """The keys cannot be trusted: as in KrakenD every request gets 401."""
        named = {self.jwk_url, *self.urls} - {""}
        are_secure = named and all(url.startswith("https://") for url in named)
        return not self.disable_jwk_security and not are_secure


class ValidatorSettings(AuthenticationSettings, KeySettings, frozen=True, kw_only=True):
    """``auth/validator``. At the root only ``shared_cache_duration`` is allowed."""

    jwk_urls: Own[tuple[str, ...]] = ()
    """URLs of further JWK Sets, in addition to `jwk_url` or `jwk_local_path`."""
    auth_header_name: str = "Authorization"
    """The header of the token."""
    cookie_key: str = "access_token"
    """The cookie of the token, for requests without the header."""
    issuer: str = ""
    """The `iss` that a token must have. Absent: any."""
    audience: tuple[str, ...] = ()
    """A token must have all of these in `aud`. Absent: any."""
    roles: tuple[str, ...] = ()
    """A token must have one of these roles, otherwise 403. Absent: no role is required."""
    roles_key: str = "roles"
    """The claim of the roles: a list, or a string separated by spaces."""
    roles_key_is_nested: bool = False
    """Dots in `roles_key` lead into objects."""
    scopes: tuple[str, ...] = ()
    """The scopes that a token must have, otherwise 403. Absent: no scope is required."""
    scopes_key: str = ""
    """The claim of the scopes; dots lead into objects. Absent: scopes are not checked."""
    scopes_matcher: str = "any"
    """`any`: one of `scopes` is enough. `all`: every one is required."""
    propagate_claims: tuple[tuple[str, ...], ...] = ()
    """Pairs of a claim and a header: the header gets the value of the claim, in place of what the
    client sent."""
    propagate_claims_preserve_array: bool = False
    """Each item of a list becomes a header of its own. Absent: one header, separated by commas."""
    key_identify_strategy: str = "kid"
    """How a token names its key: `kid`, `x5t`, `x5t#S256` or `kid_x5t`."""
    cache: bool = False
    """Use the keys of a URL for `cache_duration`. Absent: they are fetched every 60 seconds."""
    cache_duration: int = 0
    """Seconds. 0: `shared_cache_duration` of the root, or 900."""
    shared_cache_duration: int = 0
    """At the root: the default of `cache_duration`, in seconds."""
    failed_jwk_key_cooldown: Seconds = 0.0
    """The shortest time between two fetches for tokens with unknown keys. 0: 10 seconds."""
    leeway: Seconds = 1.0
    """The tolerance for `exp`, `nbf` and `iat`."""
    operation_debug: bool = False
    """Log why a token is refused."""
    require_exp: Own[bool] = False
    """Refuse tokens without `exp`."""

    @property
    def urls(self) -> tuple[str, ...]:
        return (*super().urls, *(url for url in self.jwk_urls if url))


class SignerSettings(KeySettings, frozen=True, kw_only=True):
    """``auth/signer``."""

    kid: str
    """The `kid` of the private key that signs."""
    typ: str = "JWT"
    """The `typ` of the tokens."""
    keys_to_sign: tuple[str, ...] = ()
    """Names of the objects in the response that become tokens."""
    full: bool = False
    """Write tokens as JSON (RFC 7515, 7.2.2). Absent: in the compact form."""
    leeway: Seconds = 1.0
    """Accepted for KrakenD; no effect."""


class ClientCredentialsSettings(Struct, frozen=True, kw_only=True):
    """``auth/client-credentials``."""

    client_id: str = ""
    """The name of the gateway at the token server."""
    client_secret: str = ""
    """The secret of the gateway at the token server."""
    token_url: str = ""
    """The URL of the token server."""
    scopes: str = ""
    """The scopes to request, separated by commas."""
    endpoint_params: dict[str, tuple[str, ...]] = {}
    """Further fields of the token request, each with its values."""
    is_disabled: bool = False
    """Send requests without a token."""


class RevokerSettings(Struct, frozen=True, kw_only=True):
    """``auth/revoker``. The list is exact: the keys of KrakenD's bloom filter have no effect."""

    N: int = 1_000_000
    """The largest number of revocations. More are refused with 503."""
    P: float = 0.0
    """Accepted for KrakenD; no effect."""
    hash_name: str = ""
    """Accepted for KrakenD; no effect."""
    TTL: int = 0
    """Seconds for which a revocation is valid. Required."""
    port: int = 0
    """Accepted for KrakenD; no effect: revocations come to `gateway.management_port`."""
    token_keys: tuple[str, ...] = ()
    """The claims that are checked, such as `jti`. Absent: no token can be revoked."""
    revoke_server_api_key: str = ""
    """The bearer token that a caller of the management port must send. Absent: none."""
    revoke_server_ping_url: str = ""
    """Accepted for KrakenD; no effect."""
    revoke_server_ping_interval: str = ""
    """Accepted for KrakenD; no effect."""
    revoke_server_max_retries: int = 0
    """Accepted for KrakenD; no effect."""
    revoke_server_max_workers: int = 0
    """Accepted for KrakenD; no effect."""
    file: Own[str] = ""
    """The path of a file that keeps revocations over a restart. Several workers need it. Absent:
    revocations are in memory only."""


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key and its roles."""

    key: str
    """The key as clients send it, or its hash in hexadecimal digits, see `hash`."""
    roles: tuple[str, ...] = ()
    """The roles of the key."""


class ApiKeysSettings(AuthenticationSettings, Struct, frozen=True, kw_only=True):
    """``auth/api-keys``, at the root and on endpoints."""

    keys: tuple[ApiKey, ...] = ()
    """At the root: the keys and their roles."""
    hash: str = "plain"
    """At the root: how `keys` are stored. `plain`: as they are. `sha256`, `sha1` or `fnv128`: the
    hash of `salt` and key."""
    salt: str = ""
    """At the root: the text before a key in its hash."""
    propagate_role: str = ""
    """At the root: the header that passes the role of the key to backends. Absent: none."""
    strategy: str = ""
    """Where clients send the key: `header` or `query_string`. Absent on an endpoint: as at the
    root; absent there: `header`."""
    identifier: str = ""
    """The name of the header or of the query parameter. Absent: as at the root; absent there:
    `Authorization` or `key`."""
    roles: tuple[str, ...] = ()
    """On an endpoint: a key must have one of these roles. Absent: any key."""
    client_max_rate: float = 0.0
    """On an endpoint: requests a second with each key; more get 429. 0: no limit."""


class BasicSettings(AuthenticationSettings, Struct, frozen=True, kw_only=True):
    """``auth/basic``. An endpoint without users of its own has those of the root."""

    htpasswd_path: str = ""
    """The path of a file with a line `name:bcrypt hash` for each user."""
    users: dict[str, str] = {}
    """bcrypt hashes by the name of the user. They replace those of the file."""

    @property
    def has_users(self) -> bool:
        return bool(self.htpasswd_path or self.users)
