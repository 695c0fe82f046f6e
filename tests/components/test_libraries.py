"""A gateway does not load the libraries of features that it does not use."""

from __future__ import annotations

import subprocess
import sys

LIBRARIES = ("cel_expr_python", "jinja2", "jmespath", "jsonschema_rs", "opentelemetry")
LOAD = """
import sys
from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.config.load import load
backend = {"host": ["http://a.test"], "url_pattern": "/"}
loaded = load({"version": 3, "endpoints": [{"endpoint": "/", "backend": [backend]}]}, CATALOG)
assert not list(check(loaded.service, CATALOG))
print(*sys.modules)
"""


def test_libraries_of_unused_namespaces_are_not_loaded() -> None:
    loaded = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, check=True)
    assert not set(LIBRARIES) & set(loaded.stdout.decode().split())
