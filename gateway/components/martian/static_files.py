"""``static.Modifier``: the response is a file, and no backend is called."""

from __future__ import annotations

import mimetypes
import os
import posixpath
import stat

from msgspec import Struct

from ...errors import BackendFailure
from .messages import MartianRequest, MartianResponse
from .parse import ModifierPlace, Modifiers

MAX_FILE_BYTES = 16 * 1024 * 1024
"""A file is read in one piece, on the event loop."""

_TYPES = mimetypes.MimeTypes()


class StaticFileSettings(Struct, frozen=True, kw_only=True, rename="camel"):
    root_path: str = ""
    explicit_paths: dict[str, str] = {}


def static_modifier(place: ModifierPlace) -> Modifiers:
    """Respond with the file that the path names below ``rootPath``, or 404.

    ``explicitPaths``: names of files by the path of a request.
    """
    settings = place.read(StaticFileSettings)
    if not settings.root_path:
        raise place.error("expected the folder of the files", "rootPath")

    def skip(request: MartianRequest) -> None:
        request.calls_backend = False

    def serve(response: MartianResponse) -> None:
        path = posixpath.normpath("/" + response.request.path.lstrip("/"))
        path = settings.explicit_paths.get(path, path)
        content = _read_file(settings.root_path, path)
        if content is None:
            response.status = 404
            return
        response.body = content
        response.remove(b"content-type")
        if content_type := _type_of(path):
            response.add(b"content-type", content_type.encode())

    return Modifiers(skip, serve)


def _read_file(root: str, path: str) -> bytes | None:
    """None: there is no file of that name below ``root``. A link to the outside does not count."""
    try:
        folder = os.path.realpath(root)
        found = os.path.realpath(folder + posixpath.normpath("/" + path.lstrip("/")))
        if os.path.commonpath([folder, found]) != folder:
            return None
        # Without O_NONBLOCK the opening of a named pipe waits for its writer.
        descriptor = os.open(found, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            content = file.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return None
    except OSError as error:
        raise BackendFailure(f"{path}: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise BackendFailure(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    return content


def _type_of(path: str) -> str | None:
    """As in Go: a text has a charset."""
    found, _ = _TYPES.guess_type(path)
    return f"{found}; charset=utf-8" if found and found.startswith("text/") else found
