"""A module may import from layers below its own, and from nowhere else."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gateway
from gateway.app.catalog import CATALOG

ROOT = Path(gateway.__file__).parent

LAYERS = [
    {"errors"},
    {"telemetry"},
    {"config"},
    {"tls", "encoding"},
    {"core"},
    {"hooks"},
    {"amqp", "http", "router"},
    {"components"},
    {"app"},
    {"server", "testing"},
    {"demo"},
    {"cli"},
]
"""Lowest first. Units of one layer do not know each other."""

RANK = {unit: rank for rank, units in enumerate(LAYERS) for unit in units}

OWNERS = {
    "aiormq": {"amqp", "demo/samples.py"},
    "bcrypt": {"components/auth/basic.py"},
    "cryptography": {"components/auth", "tls"},
    "jwt": {"components/auth/jose.py"},
    "coredis": {"components/ratelimit/redis.py"},
    "dns": {"http/discovery.py"},
    "re2": {"core/patterns.py"},
    "lupa": {"components/lua/sandbox.py"},
    "opentelemetry": {"components/otel/otlp_library.py", "components/otel/otlp_data.py"},
    "requests": {"components/otel/otlp_http.py"},
    "pamqp": {"amqp", "demo/samples.py", "testing"},
    "asyncio": {
        "demo/samples.py",
        "core/bridge.py",
        "amqp",
        "http/connection.py",
        "http/dial.py",
        "http/pool.py",
        "server/http1",
        "testing/memory_broker.py",
        "testing/transport.py",
        "testing/virtual_time.py",
        "tls/transport.py",
    },
    "trio": {"core/bridge.py"},
    "sniffio": {"core/bridge.py", "server/serve.py", "server/hypercorn/server.py"},
    "hypercorn": {"server/hypercorn"},
    "h2": {"server/hypercorn/hypercorn_inside.py"},
    "h11": {"server/hypercorn/hypercorn_inside.py"},
    "httptools": {"http/connection.py", "server/http1"},
    "outcome": {"core/bridge.py"},
    "yarl": {"amqp/connection"},
    "aioquic": {"server/http3"},
    "pylsqpack": {"server/http3/aioquic_inside.py"},
    "cel_expr_python": {"components/expression.py"},
    "jinja2": {
        "config/template/flexible.py",
        "config/template/parsing.py",
        "components/template.py",
    },
    "jmespath": {"components/jmespath.py"},
    "jsonschema_rs": {"components/schema.py"},
    "yaml": {"config/read.py", "config/read_yaml.py", "encoding/text_yaml.py"},
    "xml": {"encoding"},
}
"""Which module or folder may know which library."""

EVERYBODYS = {"anyio", "msgspec"}

FEATURES = ("http3", "lua", "otel", "otel-grpc", "redis")
"""Extras with libraries of the gateway itself."""

WITHOUT_NAMESPACES = {"core", "router", "app", "server"}
"""Units that read the catalogue instead of naming a namespace."""

PYTHON = sorted(ROOT.rglob("*.py"))
MODULES = [path for path in PYTHON if path.parent != ROOT or path.stem[0] != "_"]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def unit_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """Absolute dotted names, relative ones resolved."""
    package = ("gateway", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            target = (*base, *(node.module.split(".") if node.module else ()))
            if target == ("gateway",):
                yield from ((*target, alias.name) for alias in node.names)
            else:
                yield target


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down_only(path: Path) -> None:
    unit = unit_of(path)
    for target in imports(path):
        if target[0] == "gateway" and target[1] != unit:
            assert RANK[target[1]] < RANK[unit], f"{unit} must not import {target[1]}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_libraries_stay_with_their_owners(path: Path) -> None:
    for target in imports(path):
        owners = OWNERS.get(target[0])
        places = {name_of(path), *map(str, path.relative_to(ROOT).parents)}
        assert owners is None or places & owners, target[0]


def test_each_library_has_an_owner_and_is_declared() -> None:
    imported = {target[0] for path in PYTHON for target in imports(path)}
    libraries = imported - sys.stdlib_module_names - {"gateway"} | {"xml"}
    assert libraries | {"asyncio"} == OWNERS.keys() | EVERYBODYS
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    features = [text for name in FEATURES for text in extras[name]]
    texts = [*project["dependencies"], *features]
    declared = {canonicalize_name(Requirement(text).name) for text in texts}
    distributions = packages_distributions()
    for library in libraries - {"xml"}:
        assert {*map(canonicalize_name, distributions[library])} & declared, library


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_have_loggers_that_escape(path: Path) -> None:
    is_allowed = name_of(path) in ("telemetry/logs.py", "components/log/outputs.py")
    assert is_allowed or "getLogger" not in path.read_text(), (
        "use gateway.telemetry.logs.get_logger"
    )


def strings(path: Path) -> Iterator[str]:
    """Without docstrings."""
    nodes = [*ast.walk(ast.parse(path.read_text()))]
    docstrings = [node.value for node in nodes if isinstance(node, ast.Expr)]
    constants = [node for node in nodes if isinstance(node, ast.Constant)]
    return (str(node.value) for node in constants if node not in docstrings)


def is_named(name: str, text: str) -> bool:
    """Alone, in a longer string, or by its beginning, such as "auth/"."""
    is_in = "/" in name and name in text
    return name == text or is_in or ("/" in text and name.startswith(text))


@pytest.mark.parametrize(
    "path", [path for path in MODULES if unit_of(path) in WITHOUT_NAMESPACES], ids=name_of
)
def test_only_a_namespace_s_own_module_names_it(path: Path) -> None:
    names = [name for row in CATALOG for name in (row.namespace, *row.aliases)]
    assert not [text for text in strings(path) for name in names if is_named(name, text)]


def test_every_unit_has_a_layer() -> None:
    assert {unit_of(path) for path in MODULES} == RANK.keys()
