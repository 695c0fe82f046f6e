"""Keys, tokens, and a gateway asked directly, in front of a service on a real socket."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from gateway.app.service import open_gateway
from gateway.core.asgi import ASGIApp

from ...http.service import Connection, Service, message
from ...router.support import Client, Reply, http_scope

SECRET = b"a secret that is known to both, and longer than any hash of it is"
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


@cache
def private_key(alg: str) -> Any:
    """Something that signs with this algorithm; the same one each time."""
    if alg.startswith("HS"):
        return SECRET
    if alg in CURVES:
        return ec.generate_private_key(CURVES[alg])
    if alg == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return _rsa_key()


@cache
def _rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk(alg: str, kid: str = "k", *, is_private: bool = False, **changes: Any) -> dict[str, Any]:
    algorithm = get_default_algorithms()[alg]
    key = private_key(alg)
    if not is_private and not alg.startswith("HS"):
        key = key.public_key()
    described: dict[str, Any] = algorithm.to_jwk(key, as_dict=True)
    described.pop("key_ops", None)
    return {**described, "kid": kid, **changes}


def key_set(*jwks: Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": jwks}).encode()


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(
    claims: Any, alg: str = "HS256", kid: str | None = "k", key: Any = None, **header: Any
) -> str:
    """A token; ``claims`` may be bytes, to sign what is no JSON."""
    head = {"alg": alg, **({} if kid is None else {"kid": kid}), **header}
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    text = f"{encoded(json.dumps(head).encode())}.{encoded(payload)}"
    algorithm = get_default_algorithms()[alg]
    return f"{text}.{encoded(algorithm.sign(text.encode(), key or private_key(alg)))}"


def echoing(service: Service, connection: Connection, request: bytes) -> bool:
    """A service that answers with what it was asked."""
    head = request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    target = head[0].split(" ")[1]
    headers = [line.partition(": ")[::2] for line in head[1:]]
    lines = [[name.lower(), value] for name, value in headers if name.lower()[:2] in ("x-", "au")]
    connection.sendall(message(json.dumps({"target": target, "headers": lines}).encode()))
    return True


def validating(path: Path, host: str = "http://127.0.0.1:9999", **settings: Any) -> dict[str, Any]:
    """An endpoint that wants a token signed with HS256 by the key in ``path``."""
    path.write_bytes(key_set(jwk("HS256")))
    validator = {
        "alg": "HS256",
        "jwk_local_path": str(path),
        "disable_jwk_security": True,
        **settings,
    }
    return endpoint(host, validator)


def endpoint(host: str, validator: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {
        "endpoint": "/a",
        "backend": [{"host": [host], "url_pattern": "/b"}],
        "extra_config": {"auth/validator": validator},
        **keys,
    }


@asynccontextmanager
async def opened(*endpoints: dict[str, Any], **root: Any) -> AsyncGenerator[ASGIApp]:
    document = {"version": 3, "endpoints": [*endpoints], **root}
    async with open_gateway(document) as gateway:
        yield gateway.asgi


async def get(
    app: ASGIApp, target: str, token: str = "", headers: Sequence[tuple[bytes, bytes]] = ()
) -> Reply:
    given = list(headers)
    if token:
        given.append((b"authorization", f"Bearer {token}".encode()))
    client = Client()
    await app(http_scope("GET", target, headers=given), client.receive, client.send)
    return client.reply
