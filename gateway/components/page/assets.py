"""The files of the page, as responses: package data, read once at the start. Pure but for that."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from importlib.resources import files
from importlib.resources.abc import Traversable

from msgspec import Struct

from ...core.asgi import AsgiResponse, Headers, find_header

START_FILE = "index.html"
FOLDER = "page/"
"""Where all files but the first are, relative to the page."""

CONTENT_TYPES = {
    "css": b"text/css; charset=utf-8",
    "html": b"text/html; charset=utf-8",
    "ico": b"image/x-icon",
    "js": b"text/javascript; charset=utf-8",
    "json": b"application/json",
    "png": b"image/png",
    "svg": b"image/svg+xml",
}
"""By the ending of the file's name."""
PLAIN_TEXT = b"text/plain; charset=utf-8"

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""Of all responses of the page: no other site may show it or read it, and it loads nothing from
elsewhere."""

REVALIDATED = (b"cache-control", b"no-cache")
NOT_STORED = (b"cache-control", b"no-store")


class Asset(Struct, frozen=True):
    """A file, and the response that the browser has it already."""

    etag: bytes
    whole: AsgiResponse
    unchanged: AsgiResponse

    def response(self, request_headers: Headers) -> AsgiResponse:
        known = find_header(request_headers, b"if-none-match")
        is_known = any(each.strip().removeprefix(b"W/") == self.etag for each in known.split(b","))
        return self.unchanged if is_known else self.whole


def read_assets() -> dict[str, Asset]:
    """By their paths relative to the page; "" is the page itself."""
    folder = files(__package__).joinpath("assets")
    if not folder.is_dir():
        return {}
    found = {name: _asset(name, file) for name, file in _walk(folder, "")}
    start = found.pop(START_FILE, None)
    assets = {FOLDER + name: asset for name, asset in found.items()}
    return assets if start is None else {"": start, **assets}


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _walk(each, f"{prefix}{each.name}/")
        else:
            yield prefix + each.name, each


def _asset(name: str, file: Traversable) -> Asset:
    content = file.read_bytes()
    etag = b'"%b"' % blake2b(content, digest_size=12).hexdigest().encode()
    content_type = CONTENT_TYPES.get(name.rpartition(".")[2], PLAIN_TEXT)
    common = ((b"etag", etag), REVALIDATED, *SECURITY_HEADERS)
    return Asset(
        etag,
        AsgiResponse(200, ((b"content-type", content_type), *common), content),
        AsgiResponse(304, common),
    )


def json_response(body: bytes) -> AsgiResponse:
    """A document of the page."""
    content_type = (b"content-type", b"application/json; charset=utf-8")
    return AsgiResponse(200, (content_type, NOT_STORED, *SECURITY_HEADERS), body)
