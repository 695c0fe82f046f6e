"""One spec: the request to send, and whether the answer is the expected one. Pure."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jsonschema_rs


class Spec(NamedTuple):
    """``wanted``: its ``out``, with ``status_code``, ``header``, ``body`` or ``schema``."""

    name: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    wanted: Mapping[str, Any]


class Reply(NamedTuple):
    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for each, value in self.headers if each.lower() == name.lower()]

    @property
    def content(self) -> bytes:
        """Unpacked."""
        is_packed = self.values("Content-Encoding")[:1] in (["gzip"], ["x-gzip"])
        return gzip.decompress(self.body) if is_packed else self.body


def read_spec(name: str, text: str) -> Spec:
    document = json.loads(text)
    request = document["in"]
    body = request.get("body")
    if body is not None:
        body = (body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))).encode()
    headers = request.get("header") or {}
    return Spec(
        name, request.get("method") or "GET", request["url"], headers, body, document["out"]
    )


def without(reply: Reply, paths: Sequence[str]) -> Reply:
    """The reply without some members of its JSON body: ``headers.Content-Length``."""
    document = json.loads(reply.content)
    for path in paths:
        *parents, key = path.split(".")
        inner = document
        for parent in parents:
            inner = inner[parent]
        del inner[key]
    return reply._replace(body=json.dumps(document).encode())


def differences(wanted: Mapping[str, Any], reply: Reply) -> Iterator[str]:
    """What KrakenD's own runner would report; but JSON is equal whatever the order of its keys."""
    if reply.status != wanted["status_code"]:
        yield f"status {reply.status}, expected {wanted['status_code']}"
    for name, values in (wanted.get("header") or {}).items():
        found = reply.values(name)
        if found != values and (found or values[0]):
            yield f"{name}: {found or 'absent'}, expected {values}"
    content = reply.content
    if schema := wanted.get("schema"):
        yield from _against_schema(schema, content)
    elif (body := wanted.get("body")) is not None and not _is_same(body, content):
        yield f"body {content!r}, expected {body!r}"


def _against_schema(schema: Any, content: bytes) -> Iterator[str]:
    try:
        jsonschema_rs.validator_for(schema).validate(json.loads(content))
    except (jsonschema_rs.ValidationError, ValueError) as error:
        yield f"body {content!r}: {str(error).splitlines()[0]}"


def _is_same(wanted: Any, content: bytes) -> bool:
    text = content.decode(errors="replace")
    if isinstance(wanted, str):
        return wanted == text or _parsed(wanted) == _parsed(text)
    return bool(_parsed(text) == [wanted])


def _parsed(text: str) -> Any:
    """The document in a list; the text itself where it holds none."""
    try:
        return [json.loads(text)]
    except ValueError:
        return text
