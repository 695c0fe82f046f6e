"""``auth/signer``: parts of the response of an endpoint become signed tokens.

As in KrakenD the responses are JSON without the gateway's own headers, and a failing backend is a
400.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import msgspec
from anyio import CancelScope
from msgspec import Raw
from msgspec.structs import replace

from ...config.structs import Endpoint
from ...core.component import Assembly, Component
from ...core.large import KIB, size_of
from ...core.pipe import coroutine_of
from ...core.proxy import P, Request, Response, Stage
from ...encoding import Document, Value, decode_json, encode_json, unwrap
from ...errors import AmqpFailure, GatewayError, Refused
from .fetch import share_source
from .findings import signer_findings
from .jose import Key, encode_base64url
from .key_source import KeySource
from .keys import Keys
from .settings import SIGNER, SignerSettings
from .verify import verify_signer

SIGNING_KEYS_LIFETIME = 900.0
"""Seconds after which the key of a URL is fetched again (KrakenD: never)."""

MAX_INLINE_BYTES = 16 * KIB
"""Bytes of JSON whose payloads are made on the event loop: 7 ms at most. A helper process makes
larger ones. Measured at worst: 380 ns a byte (short values in a list)."""
MAX_SIGNED_BYTES = 1024 * KIB
"""Bytes of the payloads of one response: 10 ms at most to sign them, with any algorithm."""

_ESCAPED_BY_GO = re.compile(rb"[<>&]|\xe2\x80[\xa8\xa9]")
"""Characters that Go escapes in JSON without need (encoding/json, HTMLEscape)."""

Sign: TypeAlias = Callable[[bytes, Key], str]
"""A payload -> a token."""


def build_signer(settings: SignerSettings, endpoint: Endpoint, assembly: Assembly) -> Stage:
    """Signs the responses of one endpoint."""
    source = (
        None if settings.is_insecure else share_source(settings, assembly, SIGNING_KEYS_LIFETIME)
    )
    find_key = build_find_key(settings, source)
    sign = build_sign(settings)
    names = settings.keys_to_sign

    async def sign_values(data: Mapping[str, Value], key: Key) -> Document:
        objects = {name: data[name] for name in data if name in names and is_object(data[name])}
        size = size_of(objects)
        check_size(size)
        if size <= MAX_INLINE_BYTES:
            payloads = build_payloads(objects)
        else:
            payloads = await assembly.helpers.run(build_large_payloads, encode_json(objects))
        check_size(sum(len(payload) for _, payload in payloads))
        return {**data, **{name: sign(payload, key) for name, payload in payloads}}

    def stage(pipe: P, /) -> P:
        inner = coroutine_of(pipe)

        async def ask(request: Request) -> Response:
            key = await find_key(request)
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
            try:
                data = await sign_values(response.data, key)
            except BaseException as error:  # also a cancel, because the client has gone
                if isinstance(error, Exception) or not request.client.is_gone:
                    response.park()
                raise
            return response.with_data(data)

        return replace(pipe, ask=ask, now=None, later=None)

    return stage


def build_find_key(
    settings: SignerSettings, source: KeySource | None
) -> Callable[[Request], Awaitable[Key | None]]:
    """The current key to sign with. Without one it waits for a fetch, until the request's deadline.

    ``source`` None: its keys cannot be trusted, so nothing is signed.
    """
    version = -1
    key: Key | None = None

    def load(source: KeySource) -> None:
        nonlocal version, key
        if version != source.version:
            version = source.version
            key = Keys(source.jwks, settings.alg, are_to_sign=True).named(settings.kid)

    async def find_key(request: Request) -> Key | None:
        if source is not None:
            load(source)
            if key is None and (fresh := source.request_refresh()):
                with CancelScope(deadline=request.deadline):
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


def is_object(value: Value) -> bool:
    """Only objects are signed."""
    if isinstance(value, Raw):
        return bytes(memoryview(value)[:1]) == b"{"
    return isinstance(value, dict)


def check_size(size: int) -> None:
    """Raises GatewayError above :data:`MAX_SIGNED_BYTES`."""
    if size > MAX_SIGNED_BYTES:
        raise GatewayError(f"cannot be signed: more than {MAX_SIGNED_BYTES} bytes")


def build_payloads(objects: Mapping[str, Value]) -> list[tuple[str, bytes]]:
    """The payload of each object. Raises GatewayError."""
    try:
        return [
            (name, _ESCAPED_BY_GO.sub(_escape, encode_json(ordered(value))))
            for name, value in objects.items()
        ]
    except (ValueError, RecursionError) as error:  # encoding.DecodeError is a ValueError
        raise GatewayError(f"cannot be signed: {error}") from error


def build_large_payloads(body: bytes) -> list[tuple[str, bytes]]:
    """In a helper process: as :func:`build_payloads`, from a JSON object."""
    return build_payloads(decode_json(body) or {})


def ordered(value: Value) -> Value:
    """A document with sorted keys, as Go writes it; numbers are not decoded."""
    value = unwrap(value)
    if isinstance(value, dict):
        return {name: ordered(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [ordered(each) for each in value]
    if isinstance(value, Raw) and bytes(memoryview(value)[:1]) == b'"':
        return msgspec.json.decode(value, type=str)
    return value


def _escape(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(match[0].decode())


COMPONENT = Component(
    SIGNER,
    SignerSettings,
    aliases=("github.com/devopsfaith/krakend-jose/signer",),
    verify=verify_signer,
    endpoint_stage=build_signer,
    bare_responses=True,  # as in KrakenD
    findings=signer_findings,
)
