"""``docs/namespaces.md``: every key of a configuration, from the Structs that read them.

``python -m tests.namespaces`` writes it. ``tests/namespaces.md`` has what is written by hand: what
each namespace is, and an example. The meaning of a key is the string literal below its field.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import types
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields

from gateway.app.catalog import CATALOG
from gateway.config.extra_config import LEVELS
from gateway.config.structs import (
    Agent,
    AgentConsumer,
    Backend,
    Endpoint,
    Seconds,
    Service,
    own_keys,
    without_own,
)
from gateway.core.component import Catalog, Component

PATH = Path(__file__).parent.parent / "docs" / "namespaces.md"
BY_HAND = Path(__file__).with_suffix(".md")
PARTS: dict[str, type[Struct]] = {
    "The root": Service,
    "An endpoint": Endpoint,
    "A backend": Backend,
    "An agent": Agent,
}
"""The parts of a file that are no namespace: heading -> Struct."""
OF_THE_ROOT = {
    Endpoint: ("timeout", "cache_ttl", "output_encoding"),
    AgentConsumer: ("timeout",),
}
"""Keys whose default is the value of the same key of the root."""
TYPES = {str: "string", bool: "boolean", int: "number", float: "number"}


def reference(catalog: Catalog) -> str:
    by_hand = texts_by_hand()
    parts = (
        [f"## {name}", "", by_hand[name], "", *table(settings)] for name, settings in PARTS.items()
    )
    sections = (section(row, by_hand) for row in sorted(catalog, key=lambda row: row.namespace))
    start = (by_hand[""], *contents(catalog), "")
    return "\n".join([*start, *(line for each in (*parts, *sections) for line in (*each, ""))])


def contents(catalog: Catalog) -> Iterator[str]:
    """Links to all sections: a line for the parts of a file, and one for each kind of namespace."""
    yield from ("## Contents", "")
    yield f"- Parts of a file: {', '.join(map(link, PARTS))}"
    kinds: dict[str, list[str]] = {}
    for name in sorted(row.namespace for row in catalog):
        kinds.setdefault(name.split("/")[0], []).append(link(f"`{name}`"))
    for links in kinds.values():
        yield f"- {', '.join(links)}"


def link(heading: str) -> str:
    """To a heading of the page, whose anchor is as GitHub makes it."""
    anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
    return f"[{heading}](#{anchor})"


def texts_by_hand() -> dict[str, str]:
    """Heading -> the text below it. The empty heading: the beginning of the page."""
    start, *sections = re.split(r"^## ", BY_HAND.read_text(encoding="utf-8"), flags=re.MULTILINE)
    pairs = (each.split("\n", 1) for each in sections)
    return {
        "": start.strip() + "\n",
        **{heading.strip("`"): text.strip() for heading, text in pairs},
    }


def section(row: Component[Any], by_hand: Mapping[str, str]) -> Iterator[str]:
    levels = ", ".join(name for level, name in LEVELS.items() if row.knows(level))
    legacy = ", ".join(f"`{name}`" for name in row.aliases)
    yield from (f"## `{row.namespace}`", "", by_hand.get(row.namespace, ""), "")
    names = "Legacy name" if len(row.aliases) == 1 else "Legacy names"
    yield f"Allowed on: {levels}." + (f" {names}: {legacy}." if legacy else "")
    if row.whole:
        yield from ("", f"The value: {meanings(row.settings).get(row.whole, '')}")
        inner, several = inside(hints(row.settings)[row.whole])
        if inner is not None:
            yield from ("", *table(inner, "[]." if several else ""))
    elif fields(row.settings):
        yield from ("", *table(row.settings))


def table(settings: type[Struct], prefix: str = "") -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    yield from rows(settings, prefix)


def rows(settings: type[Struct], prefix: str = "") -> Iterator[str]:
    own, hints_, meanings_ = own_keys(settings), hints(settings), meanings(settings)
    for field in fields(settings):
        kind = hints_[field.name]
        default = default_of(field, is_duration=optional(kind) == Seconds)
        if field.name in OF_THE_ROOT.get(settings, ()):
            default = f"`{field.encode_name}` of the root"
        meaning = meanings_.get(field.name, "").replace("|", "\\|")
        if field.name in own:
            meaning = f"*Extension.* {meaning}".rstrip()
        yield f"| `{prefix}{field.encode_name}` | {type_of(kind)} | {default} | {meaning} |"
        inner, several = inside(kind)
        if inner is not None and inner not in PARTS.values():
            yield from rows(inner, f"{prefix}{field.encode_name}{'[]' if several else ''}.")


def meanings(settings: type[Struct]) -> dict[str, str]:
    """Field -> its meaning, as one paragraph of Markdown. A field without one is absent."""
    found: dict[str, str] = {}
    for each in reversed(settings.__mro__):
        if issubclass(each, Struct) and each is not Struct:
            found |= documented(each.__module__).get(each.__name__, {})
    return {name: found[name] for name in settings.__struct_fields__ if name in found}


@cache
def documented(module: str) -> dict[str, dict[str, str]]:
    """Class -> field -> the string literal directly below the field."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {
        each.name: {
            field.target.id: " ".join(text.split()).replace("``", "`")
            for field, below in zip(each.body, each.body[1:], strict=False)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            if isinstance(text := below.value.value, str)
        }
        for each in ast.walk(tree)
        if isinstance(each, ast.ClassDef)
    }


def without_meaning(settings: type[Struct], prefix: str = "") -> Iterator[str]:
    """The keys of a Struct, and of the Structs in it, that have no meaning."""
    known, types_ = meanings(settings), hints(settings)
    for name in settings.__struct_fields__:
        if name not in known:
            yield f"{prefix}{name}"
        inner, _ = inside(types_[name])
        if inner is not None and inner not in PARTS.values():
            yield from without_meaning(inner, f"{prefix}{name}.")


def hints(settings: type[Struct]) -> dict[str, Any]:
    found = get_type_hints(settings, include_extras=True)
    return {name: without_own(hint) for name, hint in found.items()}


def inside(kind: Any) -> tuple[type[Struct] | None, bool]:
    """The Struct of a key whose value is an object or a list of objects; whether it is a list."""
    kind, several = optional(kind), False
    if get_origin(kind) is tuple:
        kind, several = get_args(kind)[0], True
    return (kind, several) if isinstance(kind, type) and issubclass(kind, Struct) else (None, False)


def optional(kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        rest = [each for each in get_args(kind) if each is not type(None)]
        return rest[0] if len(rest) == 1 else Union[tuple(rest)]  # noqa: UP007
    return kind


def type_of(kind: Any) -> str:
    kind = optional(kind)
    if kind == Seconds:
        return "duration"
    origin = get_origin(kind)
    if origin is Annotated:
        return type_of(get_args(kind)[0])
    if origin is Literal:
        return " or ".join(f"`{msgspec.json.encode(each).decode()}`" for each in get_args(kind))
    if origin in (Union, types.UnionType):
        return " or ".join(type_of(each) for each in get_args(kind))
    if origin is tuple:
        inner = get_args(kind)[0]
        return "a list" if inside(kind)[0] or inner is Any else f"a list: {type_of(inner)}"
    if origin is dict or inside(kind)[0] is not None:
        return "an object"
    return TYPES.get(kind, "any value")


def default_of(field: FieldInfo, *, is_duration: bool) -> str:
    if field.default is NODEFAULT and field.default_factory is NODEFAULT:
        return "required" if field.required else "-"
    value = field.default if field.default is not NODEFAULT else field.default_factory()
    if value is None or isinstance(value, Struct) or value in ((), {}, ""):
        return "-"
    if is_duration:
        value = f"{value:g}s"
    return f"`{msgspec.json.encode(value).decode()}`"


if __name__ == "__main__":
    PATH.write_text(reference(CATALOG), encoding="utf-8")
