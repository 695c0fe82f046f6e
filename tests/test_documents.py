"""What documents and scripts name exists, and their examples of configurations are right."""

from __future__ import annotations

import json
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from trustme import CA

from gateway.app.catalog import CATALOG
from gateway.cli import main
from gateway.config.load import load

from .namespaces import PARTS, texts_by_hand, without_meaning

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
EXAMPLES = [
    pytest.param(match[1], id=f"{path.name}:{text.count(chr(10), 0, match.start()) + 1}")
    for path in DOCUMENTS
    for text in [path.read_text(encoding="utf-8")]
    for match in re.finditer(r"```json\n(.*?)```", text, re.DOTALL)
]


def test_what_scripts_import_from_the_gateway_exists() -> None:
    found = [
        names
        for script in (ROOT / "scripts").iterdir()
        for names in re.findall(r"from (gateway[\w.]*) import (\w+)", script.read_text())
    ]
    assert found
    for module, name in found:
        assert hasattr(import_module(module), name), module


def test_each_file_that_a_document_links_to_exists() -> None:
    links = [
        (document, link)
        for document in DOCUMENTS
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    ]
    assert len(links) > 15
    missing = [
        (document.name, link) for document, link in links if not (document.parent / link).exists()
    ]
    assert missing == []


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def headings(document: Path) -> set[str]:
    text = document.read_text(encoding="utf-8")
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_heading_that_a_document_links_to_exists(document: Path) -> None:
    links = re.findall(r"\]\(([^):#]*)#([^)]+)\)", document.read_text(encoding="utf-8"))
    missing = [
        (path, heading)
        for path, heading in links
        if heading not in headings(document.parent / path if path else document)
    ]
    assert missing == []


def whole(example: dict[str, Any]) -> dict[str, Any]:
    """A configuration around an example: of an endpoint, of what the root has, or a whole one."""
    if "version" in example:
        return example
    if "endpoint" in example:
        return {"version": 3, "endpoints": [example]}
    return {"version": 3, "endpoints": [], **example}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where examples find their files and what they read from the environment."""
    certificate = CA().issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RABBITMQ_PASSWORD", "x")
    monkeypatch.setenv("REDIS_PASSWORD", "x")
    monkeypatch.setenv("OTLP_KEY", "x")
    return tmp_path


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_configuration_in_a_document_passes_the_check_without_a_warning(
    example: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "krakend.json"
    path.write_text(json.dumps(whole(json.loads(example))))
    status = main(["check", "--lint", "-c", str(path)])
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize("namespace", [row.namespace for row in CATALOG])
def test_the_example_of_a_namespace_has_it(namespace: str, folder: Path) -> None:
    [example] = re.findall(r"```json\n(.*?)```", texts_by_hand()[namespace], re.DOTALL)
    service = load(whole(json.loads(example)), CATALOG, dict(os.environ)).service
    backends = [backend for endpoint in service.endpoints for backend in endpoint.backend]
    parts: list[Any] = [service, *service.endpoints, *service.async_agent, *backends]
    assert any(namespace in part.extra_config for part in parts)


def test_each_key_of_a_configuration_has_a_meaning() -> None:
    structs = {row.namespace: row.settings for row in CATALOG} | PARTS
    missing = [f"{name}: {key}" for name, each in structs.items() for key in without_meaning(each)]
    assert missing == []
