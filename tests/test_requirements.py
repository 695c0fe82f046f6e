"""The pinned requirements are those of pyproject.toml, and say nothing of where they come from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FEATURES = ("http3", "lua", "otel", "otel-grpc", "redis")
EXTRAS = {
    "run": FEATURES,
    "test": (*FEATURES, "test"),
    "bench": (*FEATURES, "test", "bench"),
}
ENTRY = re.compile(r"([\w.-]+==[^\s;]+)( ; [^\\]+?)?(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n")


def pinned(name: str) -> dict[str, str]:
    """The version of each package; the file holds nothing else."""
    content = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert ENTRY.sub("", content) == ""
    pins = (entry[1].split("==") for entry in ENTRY.finditer(content))
    return {canonicalize_name(package): version for package, version in pins}


def wanted(name: str) -> list[Requirement]:
    project = PROJECT["project"]
    extras = [each for extra in EXTRAS[name] for each in project["optional-dependencies"][extra]]
    texts = [*PROJECT["build-system"]["requires"], *project["dependencies"], *extras]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("name", EXTRAS)
def test_each_requirement_is_pinned_with_hashes_to_a_version_that_the_project_allows(
    name: str,
) -> None:
    """If not: scripts/lock."""
    pins = pinned(name)
    for requirement in wanted(name):
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, requirement
        assert requirement.specifier.contains(version), requirement


def test_every_extra_is_pinned() -> None:
    assert PROJECT["project"]["optional-dependencies"].keys() == set(EXTRAS["bench"])


@pytest.mark.parametrize("name", ["run", "test"])
def test_versions_are_those_that_the_benchmarks_run_with(name: str) -> None:
    assert pinned(name).items() <= pinned("bench").items()
