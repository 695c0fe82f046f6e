"""static.Modifier of modifier/martian: files as responses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from .service import answering, message, serving
from .test_backend import asking, configuration
from .test_martian import MARK

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "files"
    (inside / "sub").mkdir(parents=True)
    (inside / "plain").write_text('{"plain":1}')
    (inside / "sub" / "page.html").write_text("<p>")
    (inside / "sub" / "y.json").write_text('{"y":2}')
    (inside / "within").symlink_to(inside / "sub" / "y.json")
    (tmp_path / "secret").write_text("secret")
    (inside / "out").symlink_to(tmp_path / "secret")
    os.mkfifo(inside / "pipe")
    return inside


async def served(path: str, document: Any, **endpoint: Any) -> tuple[Any, int]:
    """The response to a GET of ``path`` below the folder, and how many requests the backend had."""
    with serving(answering(message(b'{"backend":1}'))) as service:
        config = configuration(service.url, extra_config={"modifier/martian": document})
        [entry] = config["endpoints"]
        entry.update(endpoint="/{id}", **endpoint)
        entry["backend"][0]["url_pattern"] = path
        async with asking(config) as client:
            return await client.get("/x"), len(service.requests)


NO_OP = {"output_encoding": "no-op"}


@pytest.mark.parametrize(
    ("path", "status", "text", "content_type"),
    [
        ("/sub/page.html", 200, "<p>", "text/html; charset=utf-8"),
        ("/sub/y.json", 200, '{"y":2}', "application/json"),
        ("/plain?a=1", 200, '{"plain":1}', None),
        ("/within", 200, '{"y":2}', None),
        ("/mapped", 200, '{"y":2}', "application/json"),
        ("/sub/../plain", 200, '{"plain":1}', None),
        ("/../secret", 404, "", None),
        ("/%2e%2e/secret", 404, "", None),
        ("/out", 404, "", None),
        ("/sub", 404, "", None),
        ("/pipe", 404, "", None),
        ("/plain/below", 404, "", None),
        ("/nothing", 404, "", None),
        ("/x%00y", 404, "", None),
    ],
)
async def test_a_file_below_the_folder_is_the_response(
    folder: Path, path: str, status: int, text: str, content_type: str | None
) -> None:
    mapped = {"/mapped": "/sub/y.json"}
    document = {"static.Modifier": {"rootPath": str(folder), "explicitPaths": mapped}}
    reply, calls = await served(path, document, **NO_OP)
    assert (reply.status_code, reply.text, calls) == (status, text, 0)
    if content_type is not None:
        assert reply.headers["content-type"] == content_type


async def test_a_file_is_decoded_as_a_response_of_the_backend(folder: Path) -> None:
    document = {"static.Modifier": {"rootPath": str(folder)}}
    reply, _ = await served("/plain", document)
    assert (reply.status_code, reply.json()) == (200, {"plain": 1})
    assert (await served("/nothing", document))[0].status_code == 500


async def test_other_modifiers_see_the_file(folder: Path) -> None:
    group = {"fifo.Group": {"modifiers": [{"static.Modifier": {"rootPath": str(folder)}}, MARK]}}
    reply, _ = await served("/plain", group, **NO_OP)
    assert (reply.headers["x-mark"], reply.text) == ("yes", '{"plain":1}')


@pytest.mark.parametrize(
    ("scope", "text", "requests"), [("request", "", 0), ("response", '{"plain":1}', 1)]
)
async def test_with_a_scope_only_the_request_or_the_response_is_modified(
    folder: Path, scope: str, text: str, requests: int
) -> None:
    document = {"static.Modifier": {"rootPath": str(folder), "scope": [scope]}}
    reply, calls = await served("/plain", document, **NO_OP)
    assert (reply.status_code, reply.text, calls) == (200, text, requests)


async def test_a_file_that_is_too_large_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.components.martian.static_files.MAX_FILE_BYTES", 5)
    document = {"static.Modifier": {"rootPath": str(folder)}}
    assert (await served("/plain", document))[0].status_code == 500
