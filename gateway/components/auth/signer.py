"""``auth/signer``: parts of an endpoint's answer become signed tokens.

As in KrakenD its answers are JSON without the gateway's own headers (``router/render.py``), and a
failing backend is a 400.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec
from anyio import move_on_after
from msgspec import Raw

from ...config.structs import Endpoint
from ...core.component import Assembly, Component
from ...core.proxy import Branch, Request, Response, Stage
from ...encoding import encode_json, unwrap
from ...errors import AmqpFailure, GatewayError, Refused
from ..around import finished
from .fetch import share_source
from .findings import signer_findings
from .jose import Key, encode_base64url
from .key_source import KeySource
from .keys import Keys
from .settings import SignerSettings
from .verify import verify_signer

NAMESPACE = "auth/signer"

CACHE_TIME = 900.0
"""Seconds after which the key of a URL is looked at anew (KrakenD: never)."""

_ESCAPED = re.compile(rb"[<>&]|\xe2\x80[\xa8\xa9]")
"""What Go escapes in JSON although it need not (encoding/json, HTMLEscape)."""

Sign: TypeAlias = Callable[[bytes, Key], str]
"""A payload -> a token."""


def build_signer(settings: SignerSettings, endpoint: Endpoint, assembly: Assembly) -> Stage:
    """What signs the answers of one endpoint."""
    source = None if settings.is_insecure else share_source(settings, assembly, CACHE_TIME)
    find_key = build_find_key(settings, source, endpoint.timeout)
    sign = build_sign(settings)
    names = settings.keys_to_sign

    def sign_values(response: Response, key: Key) -> Response:
        data = {
            name: signed(value, key, sign) if name in names else value
            for name, value in (response.data or {}).items()
        }
        return response.with_data(data, response.is_complete)

    def stage(pipe: Branch) -> Branch:
        inner = pipe.proxy

        async def proxy(request: Request) -> Response:
            key = await find_key()
            if key is None:
                raise Refused(401, "no key to sign with")
            try:
                response = await inner(request)
            except (AmqpFailure, Refused):
                raise
            except GatewayError as error:
                raise Refused(400, str(error)) from error
            if response.has_failures:
                raise Refused(400, "a backend failed")
            if response.data is None:
                return response
            return finished(lambda whole: sign_values(whole, key), response)

        return Branch(proxy, reads_body=pipe.reads_body)

    return stage


def build_find_key(
    settings: SignerSettings, source: KeySource | None, timeout: float
) -> Callable[[], Awaitable[Key | None]]:
    """The key to sign with, as its source has it now; waits ``timeout`` seconds for a fetch.

    ``source`` None: its keys cannot be trusted, and sign nothing.
    """
    version = -1
    key: Key | None = None

    def load(source: KeySource) -> None:
        nonlocal version, key
        if version != source.version:
            version = source.version
            key = Keys(source.jwks, settings.alg, are_to_sign=True).named(settings.kid)

    async def find_key() -> Key | None:
        if source is not None:
            load(source)
            if key is None and (fresh := source.refreshed()):
                with move_on_after(timeout):
                    await fresh.wait()
                load(source)
        return key

    return find_key


def build_sign(settings: SignerSettings) -> Sign:
    """Compact, or as flattened JSON (RFC 7515, 7.1 and 7.2.2)."""
    header = {"alg": settings.alg, "kid": settings.kid, "typ": settings.typ or "JWT"}
    protected = encode_base64url(encode_json(header))

    def sign(payload: bytes, key: Key) -> str:
        text = encode_base64url(payload)
        signature = encode_base64url(key.sign(protected + b"." + text))
        if not settings.full:
            return b".".join((protected, text, signature)).decode()
        parts = {"payload": text, "protected": protected, "signature": signature}
        return encode_json({name: part.decode() for name, part in parts.items()}).decode()

    return sign


def signed(value: Any, key: Key, sign: Sign) -> Any:
    """The token of an object; whatever is none stays. Raises GatewayError."""
    try:
        document = ordered(value)
        if not isinstance(document, dict):
            return value
        return sign(_ESCAPED.sub(_escape, encode_json(document)), key)
    except (ValueError, RecursionError) as error:  # encoding.DecodeError is a ValueError
        raise GatewayError(f"cannot be signed: {error}") from error


def ordered(value: Any) -> Any:
    """A document with the keys of its objects in order, as Go writes them; numbers stay text."""
    value = unwrap(value)
    if isinstance(value, dict):
        return {name: ordered(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [ordered(each) for each in value]
    if isinstance(value, Raw) and bytes(memoryview(value)[:1]) == b'"':
        return msgspec.json.decode(value)
    return value


def _escape(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(match[0].decode())


COMPONENT = Component(
    NAMESPACE,
    SignerSettings,
    aliases=("github.com/devopsfaith/krakend-jose/signer",),
    verify=verify_signer,
    endpoint_stage=build_signer,
    findings=signer_findings,
)
