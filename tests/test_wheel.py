"""The package as users install it: a wheel, in an environment of its own, away from the sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from gateway.demo.broker import Broker, free_port

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.timeout(180)  # it builds, installs and starts things


def run(*command: object, folder: Path) -> str:
    """The output. Nothing of this process' environment leads to the sources."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=kept,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment's bin folder. Dependencies are those of the tests, by a path."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"  # a build writes beside them
    shutil.copytree(ROOT / "gateway", sources / "gateway", ignore=shutil.ignore_patterns("*.pyc"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, sources]
    run(*pip, *build, folder=folder)
    [wheel] = folder.glob("*.whl")
    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, folder=folder)
    found = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder
    )
    (Path(found.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return environment / "bin"


def test_the_demo_of_an_installed_wheel_shows_every_endpoint(
    installed: Path, broker: Broker, tmp_path: Path
) -> None:
    where = run(installed / "python", "-c", "import gateway; print(gateway)", folder=tmp_path)
    assert str(installed.parent) in where
    options = ["--once", "--port", str(free_port()), "--url", broker.url]
    assert run(installed / "gateway", "demo", *options, folder=tmp_path).count("200 {") == 3


def test_the_types_of_an_installed_wheel_are_seen(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import gateway\n")
    mypy = [sys.executable, "-m", "mypy", "--follow-imports=skip", "--cache-dir=/dev/null"]
    target = ["--python-executable", installed / "python", "program.py"]
    assert "Success" in run(*mypy, *target, folder=tmp_path)


def test_the_files_of_the_page_are_in_an_installed_wheel(installed: Path, tmp_path: Path) -> None:
    listing = (
        "from importlib.resources import files; from pathlib import Path; "
        "folder = Path(str(files('gateway') / 'components/page/assets')); "
        "print(*(each.relative_to(folder) for each in folder.rglob('*') if each.is_file()))"
    )
    found = run(installed / "python", "-c", listing, folder=tmp_path).split()
    sources = ROOT / "gateway/components/page/assets"
    expected = [each for each in sources.rglob("*") if each.is_file()]
    assert sorted(found) == sorted(str(each.relative_to(sources)) for each in expected)
