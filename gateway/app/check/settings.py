"""Which keys of a Struct a configuration has set. Pure."""

from __future__ import annotations

from typing import Any

from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields


def changed(settings: Struct) -> frozenset[str]:
    """Keys that differ from their defaults."""
    return frozenset(
        field.name for field in fields(settings) if getattr(settings, field.name) != _default(field)
    )


def _default(field: FieldInfo) -> Any:
    return field.default if field.default_factory is NODEFAULT else field.default_factory()
