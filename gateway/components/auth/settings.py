"""What the namespaces of ``auth/`` hold."""

from __future__ import annotations

from msgspec import Struct

from ...config.structs import Own, Seconds
from ...core.families import AuthenticationSettings

API_KEYS, SIGNER, VALIDATOR = "auth/api-keys", "auth/signer", "auth/validator"

WITHOUT_CACHE = 60.0
"""Seconds between looks at a key server without ``cache``. KrakenD fetches for each request."""


class KeySettings(Struct, frozen=True, kw_only=True):
    """Where keys come from; what ``auth/validator`` and ``auth/signer`` have in common.

    ``jwk_fingerprints``: SHA-256 of a certificate's public key, in base64url; ``cipher_suites``:
    IANA's numbers, for TLS 1.2.
    ``disable_jwk_security``: keys may come from where nobody vouches for them: plain HTTP, a
    certificate that is not checked, and (KrakenD wants it so) a file.
    """

    alg: str = "RS256"
    jwk_url: str = ""
    jwk_local_path: str = ""
    jwk_local_ca: str = ""
    jwk_fingerprints: tuple[str, ...] = ()
    cipher_suites: tuple[int, ...] = ()
    disable_jwk_security: bool = False
    secret_url: str = ""
    cypher_key: str = ""

    @property
    def urls(self) -> tuple[str, ...]:
        """Those that count."""
        return (self.jwk_url,) if self.jwk_url and not self.jwk_local_path else ()

    @property
    def is_insecure(self) -> bool:
        """Its keys cannot be trusted: KrakenD then answers every request with 401."""
        named = {self.jwk_url, *self.urls} - {""}
        are_secure = named and all(url.startswith("https://") for url in named)
        return not self.disable_jwk_security and not are_secure


class ValidatorSettings(AuthenticationSettings, KeySettings, frozen=True, kw_only=True):
    """``auth/validator``. ``jwk_urls`` count beside ``jwk_local_path``, or without it ``jwk_url``.
    ``cache_duration``, ``shared_cache_duration``: in seconds; the latter counts at the root only,
    where nothing else does. ``jwk_urls`` and ``require_exp`` are ours."""

    jwk_urls: Own[tuple[str, ...]] = ()
    auth_header_name: str = "Authorization"
    cookie_key: str = "access_token"
    issuer: str = ""
    audience: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    roles_key: str = "roles"
    roles_key_is_nested: bool = False
    scopes: tuple[str, ...] = ()
    scopes_key: str = ""
    scopes_matcher: str = "any"
    propagate_claims: tuple[tuple[str, ...], ...] = ()
    propagate_claims_preserve_array: bool = False
    key_identify_strategy: str = "kid"
    cache: bool = False
    cache_duration: int = 0
    shared_cache_duration: int = 0
    failed_jwk_key_cooldown: Seconds = 0.0
    leeway: Seconds = 1.0
    operation_debug: bool = False
    require_exp: Own[bool] = False

    @property
    def urls(self) -> tuple[str, ...]:
        return (*super().urls, *(url for url in self.jwk_urls if url))


class SignerSettings(KeySettings, frozen=True, kw_only=True):
    """``auth/signer``. ``jwk_local_path`` wins over ``jwk_url``. ``full``: JSON instead of the
    compact form. ``leeway`` has no effect."""

    kid: str
    typ: str = "JWT"
    keys_to_sign: tuple[str, ...] = ()
    full: bool = False
    leeway: Seconds = 1.0


class ClientCredentialsSettings(Struct, frozen=True, kw_only=True):
    """``auth/client-credentials``. ``scopes``: with commas between. ``endpoint_params``: further
    fields of the request for a token."""

    client_id: str = ""
    client_secret: str = ""
    token_url: str = ""
    scopes: str = ""
    endpoint_params: dict[str, tuple[str, ...]] = {}
    is_disabled: bool = False


class RevokerSettings(Struct, frozen=True, kw_only=True):
    """``auth/revoker``. ``TTL``: seconds for which a revocation holds. ``N``: the most of them.
    ``revoke_server_api_key``: what those must show who revoke. ``file`` (ours): where revocations
    are kept over a restart, and for every worker. The other keys have no effect: they are those
    of a bloom filter, its port and KrakenD's server for it."""

    N: int = 1_000_000
    P: float = 0.0
    hash_name: str = ""
    TTL: int = 0
    port: int = 0
    token_keys: tuple[str, ...] = ()
    revoke_server_api_key: str = ""
    revoke_server_ping_url: str = ""
    revoke_server_ping_interval: str = ""
    revoke_server_max_retries: int = 0
    revoke_server_max_workers: int = 0
    file: Own[str] = ""


class ApiKey(Struct, frozen=True, kw_only=True):
    """``key``: as clients send it, or what ``hash`` makes of it, in hexadecimal digits."""

    key: str
    roles: tuple[str, ...] = ()


class ApiKeysSettings(AuthenticationSettings, Struct, frozen=True, kw_only=True):
    """``auth/api-keys``. At the root: which keys there are, and where clients send them. On an
    endpoint: which roles it wants, how many requests a second it takes with each key, and where
    clients send them to it ("": as the root says)."""

    keys: tuple[ApiKey, ...] = ()
    hash: str = "plain"
    salt: str = ""
    propagate_role: str = ""
    strategy: str = ""
    identifier: str = ""
    roles: tuple[str, ...] = ()
    client_max_rate: float = 0.0


class BasicSettings(AuthenticationSettings, Struct, frozen=True, kw_only=True):
    """``auth/basic``. ``users``: names and bcrypt hashes; they win over those of the file. An
    endpoint without users of its own has those of the root."""

    htpasswd_path: str = ""
    users: dict[str, str] = {}

    @property
    def has_users(self) -> bool:
        return bool(self.htpasswd_path or self.users)
