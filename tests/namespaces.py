"""``docs/namespaces.md``: the keys of every namespace, from the Structs that read them.

``python -m tests.namespaces`` writes it.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields

from gateway.app.catalog import CATALOG
from gateway.config.extra_config import LEVELS
from gateway.config.structs import Seconds, own_keys, without_own
from gateway.core.component import Catalog, Component

PATH = Path(__file__).parent.parent / "docs" / "namespaces.md"
HEAD = """# Namespaces and their keys

What may stand in `extra_config`, on which level: its keys, their types and their defaults. *ours*:
KrakenD does not know the key. A duration is a text such as `"1m30s"`. What the keys mean is in
[configuration.md](configuration.md). Made from the code by `python -m tests.namespaces`.
"""
KINDS = {str: "text", bool: "true or false", int: "number", float: "number"}


def reference(catalog: Catalog) -> str:
    sections = (section(row) for row in sorted(catalog, key=lambda row: row.namespace))
    return "\n".join([HEAD, *sections])


def section(row: Component[Any]) -> str:
    levels = [name for level, name in LEVELS.items() if row.knows(level)]
    lines = [f"## `{row.namespace}`", "", f"On {', '.join(levels)}."]
    if row.aliases:
        lines[-1] += f" Formerly {', '.join(f'`{name}`' for name in row.aliases)}."
    if row.whole:
        lines += ["", f"The value itself is {kind_of(hints(row.settings)[row.whole])}."]
    elif fields(row.settings):
        lines += ["", *table(row.settings)]
    return "\n".join([*lines, ""])


def table(settings: type[Struct], prefix: str = "") -> Iterator[str]:
    if not prefix:
        yield "| key | type | default | |"
        yield "|---|---|---|---|"
    own, types_ = own_keys(settings), hints(settings)
    for field in fields(settings):
        mark = " ours |" if field.name in own else " |"
        kind = types_[field.name]
        default = default_of(field, is_duration=optional(kind) == Seconds)
        yield f"| `{prefix}{field.name}` | {kind_of(kind)} | {default} |{mark}"
        inner, several = inside(kind)
        if inner is not None:
            yield from table(inner, f"{prefix}{field.name}{'[]' if several else ''}.")


def hints(settings: type[Struct]) -> dict[str, Any]:
    found = get_type_hints(settings, include_extras=True)
    return {name: without_own(hint) for name, hint in found.items()}


def inside(kind: Any) -> tuple[type[Struct] | None, bool]:
    """The Struct that a key holds, and whether it is a list of them."""
    kind, several = optional(kind), False
    if get_origin(kind) is tuple:
        kind, several = get_args(kind)[0], True
    return (kind, several) if isinstance(kind, type) and issubclass(kind, Struct) else (None, False)


def optional(kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        rest = [each for each in get_args(kind) if each is not type(None)]
        return rest[0] if len(rest) == 1 else Union[tuple(rest)]  # noqa: UP007
    return kind


def kind_of(kind: Any) -> str:
    kind = optional(kind)
    if kind == Seconds:
        return "duration"
    origin = get_origin(kind)
    if origin is Annotated:
        return kind_of(get_args(kind)[0])
    if origin is Literal:
        return " or ".join(f"`{msgspec.json.encode(each).decode()}`" for each in get_args(kind))
    if origin in (Union, types.UnionType):
        return " or ".join(kind_of(each) for each in get_args(kind))
    if origin is tuple:
        inner = get_args(kind)[0]
        return "a list" if inside(kind)[0] or inner is Any else f"a list: {kind_of(inner)}"
    if origin is dict or inside(kind)[0] is not None:
        return "an object"
    return KINDS.get(kind, "any value")


def default_of(field: FieldInfo, *, is_duration: bool) -> str:
    if field.default is NODEFAULT and field.default_factory is NODEFAULT:
        return "needed" if field.required else "-"
    value = field.default if field.default is not NODEFAULT else field.default_factory()
    if value is None or isinstance(value, Struct) or value in ((), {}, ""):
        return "-"
    if is_duration:
        value = f"{value:g}s"
    return f"`{msgspec.json.encode(value).decode()}`"


if __name__ == "__main__":
    PATH.write_text(reference(CATALOG), encoding="utf-8")
