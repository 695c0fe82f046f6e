"""The recorded HTTP cases: one gateway per file, its cases in their order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .http_case import HttpCases, read_cases, try_config
from .http_mock import open_mock
from .http_waiting import DIFFERENT, WAITING

FILES = {path.stem: read_cases(path) for path in (Path(__file__).parent / "http").glob("*.json")}


def params(kind: str | None) -> Iterator[Any]:
    """The cases of all files of a kind. What the recording calls a defect is not to be copied."""
    for name, spec in sorted(FILES.items()):
        for case in spec["cases"]:
            if spec.get("kind") == kind and not case.get("defect"):
                marks = [pytest.mark.xfail(reason=why, strict=True) for why in reasons(name, case)]
                yield pytest.param(name, case, id=f"{name}-{case['name']}", marks=marks)


def reasons(name: str, case: dict[str, Any]) -> Iterator[str]:
    """Why a case fails; one that passes all the same fails its test."""
    waiting = WAITING.get(name, {})
    if isinstance(waiting, str):
        yield waiting
    elif case["name"] in waiting:
        yield waiting[case["name"]]
    if case["name"] in DIFFERENT.get(name, {}):
        yield DIFFERENT[name][case["name"]]


@pytest.fixture(scope="module")
def gateway_of(tmp_path_factory: pytest.TempPathFactory) -> Generator[Callable[[str], HttpCases]]:
    """The gateway of a file; asking for another file's ends it."""
    with open_mock() as mock, ExitStack() as gateways:
        running: dict[str, HttpCases] = {}

        def gateway_of(name: str) -> HttpCases:
            if name not in running:
                gateways.close()
                running.clear()
                mock.calls.clear()
                cases = HttpCases(FILES[name], mock, tmp_path_factory.mktemp(name))
                gateways.enter_context(cases.running())
                running[name] = cases
            return running[name]

        yield gateway_of


@pytest.mark.parametrize(("name", "case"), list(params(None)))
def test_recorded_case(
    name: str, case: dict[str, Any], gateway_of: Callable[[str], HttpCases]
) -> None:
    assert gateway_of(name).run(case) == []


@pytest.mark.parametrize(("name", "case"), list(params("config")))
def test_recorded_configuration(name: str, case: dict[str, Any], tmp_path: Path) -> None:
    assert try_config(case, tmp_path) == []


def test_every_listed_case_exists() -> None:
    for listed in (WAITING, DIFFERENT):
        for name, waiting in listed.items():
            known = {case["name"] for case in FILES[name]["cases"]}
            assert isinstance(waiting, str) or waiting.keys() <= known
