"""``static.Modifier``: a file is the answer, and no backend is asked."""

from __future__ import annotations

import mimetypes
import os
import posixpath
import stat

from msgspec import Struct

from ...errors import BackendFailure
from .exchange import Answered, Sent
from .parse import ModifierPlace, Modifiers

MAX_FILE = 16 * 1024 * 1024
"""Bytes of a file: it is read at once, on the event loop."""

_TYPES = mimetypes.MimeTypes()


class Static(Struct, frozen=True, kw_only=True, rename="camel"):
    root_path: str = ""
    explicit_paths: dict[str, str] = {}


def static_modifier(place: ModifierPlace) -> Modifiers:
    """Answers with the file that the path names below ``rootPath``; 404 when there is none.

    ``explicitPaths``: files by the path of a request. The gateway's own folder is never meant.
    """
    settings = place.read(Static)
    if not settings.root_path:
        raise place.error("expected the folder of the files", "rootPath")

    def skip(sent: Sent) -> None:
        sent.is_asked = False

    def serve(answered: Answered) -> None:
        path = posixpath.normpath("/" + answered.sent.path.lstrip("/"))
        path = settings.explicit_paths.get(path, path)
        content = _read_file(settings.root_path, path)
        if content is None:
            answered.status = 404
            return
        answered.body = content
        answered.remove(b"content-type")
        if content_type := _type_of(path):
            answered.add(b"content-type", content_type.encode())

    return Modifiers(skip, serve)


def _read_file(root: str, path: str) -> bytes | None:
    """None: no file of that name is below ``root``; links that lead out of it count as none."""
    try:
        folder = os.path.realpath(root)
        found = os.path.realpath(folder + posixpath.normpath("/" + path.lstrip("/")))
        if os.path.commonpath([folder, found]) != folder:
            return None
        # Not blocking: to open a named pipe would wait for its writer.
        descriptor = os.open(found, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            content = file.read(MAX_FILE + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return None
    except OSError as error:
        raise BackendFailure(f"{path}: {error.strerror}") from error
    if len(content) > MAX_FILE:
        raise BackendFailure(f"{path}: larger than {MAX_FILE} bytes")
    return content


def _type_of(path: str) -> str | None:
    """As Go has it: with the characters of a text."""
    found, _ = _TYPES.guess_type(path)
    return f"{found}; charset=utf-8" if found and found.startswith("text/") else found
