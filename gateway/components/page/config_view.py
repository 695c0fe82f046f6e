"""The configuration as the gateway understands it, without its secrets. Pure.

A secret is recognised by the name of its key, by its place in a URL, by what it looks like, and by
where it came from: a string in which ``${NAME}`` was replaced is shown as it is in the file. In
doubt a value is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from ...config.findings import key_path, without_logins
from ...config.structs import GatewaySettings, PageSettings, Service, changed, own_keys

HIDDEN = "***"

HASH_BYTES = 6
"""Bytes of the hash that identifies a configuration. The hash is of the redacted configuration, so
that it is no help to guess passwords."""

SENSITIVE_WORDS = (
    "secret|passw|passphrase|pwd|salt|token|users|key|credential|authori|cookie|session|signature"
    "|bearer|private|pass|user_?name|value"
)
_SECRET_KEY = re.compile(SENSITIVE_WORDS, re.IGNORECASE)
"""A key whose name has one of these parts may have a secret."""

SECRET_KEYS = frozenset(("auth", "pin", "code", "access", "body", "data", "pre", "post"))
"""Keys whose values may be anything: bodies, documents, scripts."""

HARMLESS_KEYS = frozenset(
    (
        *("routing_key", "exp_key", "msg_id_key", "reply_to_key", "priority_key", "type_key"),
        *("correlation_id_key", "app_id_key", "token_keys", "keys_to_sign", "static_routing_key"),
        *("cookie_key", "roles_key", "scopes_key", "key_identify_strategy", "token_url", "jwk_url"),
        *("public_key", "private_key", "secret_url", "jwk_local_path"),
    )
)
"""Keys of this gateway that have such a part: their values are names, URLs and paths."""

CHOSEN_NAMES = frozenset(
    ("args", "variables", "endpoint_params", "headers", "custom_headers", "clusters", "arguments")
)
"""Keys of objects with names that the operator has chosen: all their values are hidden."""

_PARAMETER = re.compile(r"([?&;][^=&;#\s]{1,100}=)(?!\{)[^&#\s]+")
"""A parameter in the query string of a URL, unless its value is a placeholder."""

_ASSIGNMENT = re.compile(
    rf"((?:{SENSITIVE_WORDS})[\w.\-]*[\"'\]]*\s*(?:[:=]+|,)\s*)([\"'])(?:(?!\2).)+\2", re.IGNORECASE
)
"""``token = "abc"`` in a script."""

_BARE_ASSIGNMENT = re.compile(
    rf"((?:{SENSITIVE_WORDS})[\w.\-]{{0,40}}\s?[:=]\s?)[^\s;,\"']+", re.IGNORECASE
)
"""``password=abc host=x``."""

_LOOKS_SECRET = re.compile(
    r"-----BEGIN|base64key://|\b(basic|bearer|digest|negotiate)\s+\S|\beyJ[\w-]+\.[\w-]+\.|\$2[abxy]?\$\d\d\$",
    re.IGNORECASE,
)
"""Keys in PEM, values of ``Authorization``, JSON Web Tokens, hashes of bcrypt."""

_PLACE = re.compile(r"\$\{[^{}]+\}")

MIN_SECRET_LENGTH = 4
"""Characters of the value of a placeholder that is hidden wherever it occurs. A shorter one is
hidden only in its own string."""


def understood(service: Service, placeholders: Mapping[str, str]) -> dict[str, Any]:
    """All keys with their values, defaults included. ``placeholders``: strings in which ``${NAME}``
    was replaced, and their text in the file."""
    return Redaction(placeholders).of_object(msgspec.to_builtins(service))


def hash_of(config: Mapping[str, Any]) -> str:
    """``config``: a redacted one."""
    encoded = msgspec.json.encode(config, order="sorted")
    return blake2b(encoded, digest_size=HASH_BYTES).hexdigest()


def extensions(value: object, path: str = "$") -> Iterator[str]:
    """JSON paths of the keys below a Struct that only this gateway knows, and that are set."""
    if isinstance(value, Struct):
        is_all_own = isinstance(value, GatewaySettings | PageSettings)
        own = changed(value) if is_all_own else own_keys(type(value)) & changed(value)
        for name in value.__struct_fields__:
            if name in own:
                yield key_path(path, name)
            else:
                yield from extensions(getattr(value, name), key_path(path, name))
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from extensions(each, key_path(path, str(name)))
    elif isinstance(value, tuple):
        for number, each in enumerate(value):
            yield from extensions(each, f"{path}[{number}]")


class Redaction:
    def __init__(self, placeholders: Mapping[str, str]) -> None:
        self._placeholders = placeholders
        values = (value for filled, text in placeholders.items() for value in _values(filled, text))
        self._values = sorted(set(values), key=len, reverse=True)

    def of_object(self, value: Mapping[Any, Any], *, is_secret: bool = False) -> dict[str, Any]:
        # {"name": "X-Api-Key", "value": "..."}: the name says whether the value is a secret.
        names = [each for key, each in value.items() if key in ("name", "key", "header")]
        is_named = any(isinstance(each, str) and _SECRET_KEY.search(each) for each in names)
        return {
            self._of_text(str(key)): self._of_namespaces(each)
            if key == "extra_config" and isinstance(each, Mapping)
            else self._of_value(
                each, is_secret or (is_named and key == "value") or _is_secret(str(key), each)
            )
            for key, each in value.items()
        }

    def _of_namespaces(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Their names say nothing about secrets: ``auth/api-keys``."""
        return {name: self._of_value(each, False) for name, each in value.items()}

    def _of_value(self, value: Any, is_secret: bool) -> Any:
        if isinstance(value, Mapping):
            return self.of_object(value, is_secret=is_secret)
        if isinstance(value, list | tuple):
            return [self._of_value(each, is_secret) for each in value]
        if value is None or isinstance(value, bool) or value == "":
            return value
        if is_secret:
            return HIDDEN
        return self._of_text(value) if isinstance(value, str) else value

    def _of_text(self, text: str) -> str:
        text = self._placeholders.get(text, text)
        if _LOOKS_SECRET.search(text):
            return HIDDEN
        for value in self._values:
            text = text.replace(value, HIDDEN)
        return without_secrets(text)


def without_secrets(text: str) -> str:
    """A text without logins, without values of query strings, and without what is assigned to a
    name that may be one of a secret."""
    text = _PARAMETER.sub(rf"\g<1>{HIDDEN}", without_logins(text))
    text = _ASSIGNMENT.sub(rf'\g<1>"{HIDDEN}"', text)
    return _BARE_ASSIGNMENT.sub(rf"\g<1>{HIDDEN}", text)


def _is_secret(key: str, value: object) -> bool:
    if key in CHOSEN_NAMES:
        return isinstance(value, Mapping)
    if key == "keys":  # of objects, which have names of their own
        return not (
            isinstance(value, list | tuple) and all(isinstance(each, Mapping) for each in value)
        )
    if key in HARMLESS_KEYS:
        return False
    return key.lower() in SECRET_KEYS or bool(_SECRET_KEY.search(key))


def _values(filled: str, text: str) -> Iterator[str]:
    """What the placeholders of ``text`` were replaced with to make ``filled``."""
    pattern = "(.*)".join(map(re.escape, _PLACE.split(text)))
    found = re.fullmatch(pattern, filled, re.DOTALL)
    for value in found.groups() if found else (filled,):
        for each in (value, unquote(value)):
            if len(each) >= MIN_SECRET_LENGTH:
                yield each
