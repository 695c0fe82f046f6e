"""One scenario a file: its ``SCENARIO`` is found by being there; the name orders the report."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from ..scenario import Scenario


def all_scenarios() -> dict[str, Scenario]:
    """Every scenario by its name, in the order of their files."""
    modules = sorted(module.name for module in iter_modules(__path__))
    scenarios = [import_module(f"{__name__}.{module}").SCENARIO for module in modules]
    return {scenario.name: scenario for scenario in scenarios}
