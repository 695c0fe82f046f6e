"""The functions of templates: Go's built-ins, and those of Sprig that configurations use. Pure.

The arguments have Go's order, so that the last one can come through a pipe.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import TypeAlias, TypeVar
from urllib.parse import quote_plus

import msgspec

from .lexing import TemplateProblem

T = TypeVar("T")
Function: TypeAlias = Callable[..., object]

NO_VALUE = "<no value>"
"""What Go prints for a missing value."""


def text_of(value: object) -> str:
    """A value as Go prints it; numbers have no exponent."""
    if isinstance(value, str):
        return value
    if value is None:
        return NO_VALUE
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, Mapping):
        inner = " ".join(f"{key}:{_inside(each)}" for key, each in sorted(value.items()))
        return f"map[{inner}]"
    if isinstance(value, Sequence):
        return f"[{' '.join(map(_inside, value))}]"
    return str(value)


def _inside(value: object) -> str:
    return "<nil>" if value is None else text_of(value)


def _print(*values: object) -> str:
    """Between two values that are not strings there is a blank."""
    printed = ""
    before: object = ""
    for value in values:
        is_apart = printed and not isinstance(value, str) and not isinstance(before, str)
        printed += " " * bool(is_apart) + text_of(value)
        before = value
    return printed


def field(value: object, name: str) -> object:
    """``.name`` of an object; None when the key or the object is missing."""
    if value is None or isinstance(value, Mapping):
        return value.get(name) if value else None
    raise TemplateProblem(f".{name} of {kind_of(value)}: only an object has fields")


def pairs(value: object) -> list[tuple[object, object]]:
    """The items of a range: keys (sorted) or indices, and values."""
    if isinstance(value, Mapping):
        return sorted(value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return [(each, each) for each in range(value)]
    if value is None or (isinstance(value, Sequence) and not isinstance(value, str)):
        return list(enumerate(value or ()))
    raise TemplateProblem(f"cannot range over {kind_of(value)}")


def marshal(value: object) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def kind_of(value: object) -> str:
    for kind, name in KINDS.items():
        if isinstance(value, kind):
            return name
    return "invalid"


KINDS: Mapping[type, str] = {
    bool: "bool",
    str: "string",
    int: "int",
    float: "float64",
    dict: "map",
    list: "slice",
}


def _integer(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, str | int | float):
        return int(value, 0) if isinstance(value, str) else int(value)
    raise TemplateProblem(f"expected a number, found {kind_of(value)}")


def _number(value: object) -> float:
    if isinstance(value, str | int | float):
        return float(value)
    raise TemplateProblem(f"expected a number, found {kind_of(value)}")


def _index(value: object, *indices: object) -> object:
    for index in indices:
        if isinstance(value, Mapping):
            value = value.get(index)
        elif isinstance(value, Sequence) and isinstance(index, int) and index < len(value):
            value = value[index]
        else:
            raise TemplateProblem(f"no such index in {kind_of(value)}")
    return value


def _printf(form: str, *values: object) -> str:
    rest = iter(values)

    def put(found: re.Match[str]) -> str:
        flags, verb = found[1], found[2]
        if verb == "%":
            return "%"
        value = next(rest, None)
        if verb in "vs":
            return f"%{flags}s" % text_of(value)
        if verb == "q":
            return json.dumps(text_of(value), ensure_ascii=False)
        if verb == "t":
            return text_of(bool(value))
        return f"%{flags}{verb}" % (_integer(value) if verb in "dxXo" else _number(value))

    return re.sub(r"%([-+ 0#]*\d*(?:\.\d+)?)([vsqtdxXofeEgG%])", put, form)


def _dig(*arguments: object) -> object:
    *keys, default, value = arguments
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            return default
        value = value[key]
    return value


def _dict(*items: object) -> dict[str, object]:
    return {text_of(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _set(value: dict[str, object], key: str, new: object) -> dict[str, object]:
    value[key] = new
    return value


def _unset(value: dict[str, T], key: str) -> dict[str, T]:
    value.pop(key, None)
    return value


def _merge(*values: Mapping[str, object]) -> dict[str, object]:
    """Of equal keys the first value is used; objects in objects are merged, too."""
    merged: dict[str, object] = {}
    for value in values:
        for key, inner in value.items():
            existing = merged.get(key)
            if isinstance(existing, Mapping) and isinstance(inner, Mapping):
                merged[key] = _merge(existing, inner)
            else:
                merged.setdefault(key, inner)
    return merged


def _unique(values: Sequence[T]) -> list[T]:
    return [value for index, value in enumerate(values) if value not in values[:index]]


def _substring(start: int, end: int, text: str) -> str:
    return text[max(start, 0) :] if end < 0 else text[max(start, 0) : end]


def _truncated(length: int, text: str) -> str:
    return text[length:] if length < 0 else text[:length]


def _divided(value: object, *others: object) -> int:
    """The quotient, rounded towards zero as in Go."""
    return functools.reduce(lambda a, b: int(a / b), map(_integer, others), _integer(value))


def _fail(text: str) -> str:
    raise TemplateProblem(f"fail: {text}")


def _default(default: object, value: object = None) -> object:
    return value or default


def _indented(spaces: int, text: str) -> str:
    return "\n".join(" " * spaces + line for line in text.split("\n"))


def _split(separator: str, text: str) -> dict[str, str]:
    return {f"_{index}": part for index, part in enumerate(text.split(separator))}


def _words(text: str) -> list[str]:
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", text)


def _until(start: int, stop: int, step: int) -> list[int]:
    return list(range(start, stop, step)) if step else []


BUILT_IN: Mapping[str, Function] = {
    "and": lambda *values: next((value for value in values if not value), values[-1]),
    "or": lambda *values: next((value for value in values if value), values[-1]),
    "not": lambda value: not value,
    "eq": lambda value, *others: any(value == other for other in others),
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "len": lambda value: len(value.encode()) if isinstance(value, str) else len(value),
    "index": _index,
    "slice": lambda value, start=0, end=None: value[start:end],
    "print": _print,
    "println": lambda *values: " ".join(map(text_of, values)) + "\n",
    "printf": _printf,
    "urlquery": lambda *values: quote_plus("".join(map(text_of, values))),
}
"""The functions of Go's text/template."""

STRINGS: Mapping[str, Function] = {
    "upper": str.upper,
    "lower": str.lower,
    "title": str.title,
    "trim": str.strip,
    "trimAll": lambda marks, text: text.strip(marks),
    "trimPrefix": lambda prefix, text: text.removeprefix(prefix),
    "trimSuffix": lambda suffix, text: text.removesuffix(suffix),
    "nospace": lambda text: re.sub(r"\s", "", text),
    "repeat": lambda count, text: text * count,
    "replace": lambda old, new, text: text.replace(old, new),
    "contains": lambda part, text: part in text,
    "hasPrefix": lambda prefix, text: text.startswith(prefix),
    "hasSuffix": lambda suffix, text: text.endswith(suffix),
    "quote": lambda *values: " ".join(
        json.dumps(text_of(each), ensure_ascii=False) for each in values
    ),
    "squote": lambda *values: " ".join(f"'{text_of(each)}'" for each in values),
    "cat": lambda *values: " ".join(map(text_of, values)),
    "indent": _indented,
    "nindent": lambda spaces, text: "\n" + _indented(spaces, text),
    "substr": _substring,
    "trunc": _truncated,
    "snakecase": lambda text: "_".join(_words(text)).lower(),
    "kebabcase": lambda text: "-".join(_words(text)).lower(),
    "camelcase": lambda text: "".join(word.capitalize() for word in _words(text)),
    "split": _split,
    "splitList": lambda separator, text: text.split(separator),
    "join": lambda separator, values: separator.join(map(text_of, values)),
    "sortAlpha": lambda values: sorted(map(text_of, values)),
    "toString": text_of,
    "toStrings": lambda values: [text_of(each) for each in values],
    "b64enc": lambda text: base64.b64encode(text.encode()).decode(),
    "b64dec": lambda text: base64.b64decode(text).decode(),
    "sha256sum": lambda text: hashlib.sha256(text.encode()).hexdigest(),
    "regexMatch": lambda pattern, text: re.search(pattern, text) is not None,
    "regexReplaceAll": lambda pattern, text, new: re.sub(
        pattern, re.sub(r"\$\{?(\d+)\}?", r"\\\1", new), text
    ),
}

NUMBERS: Mapping[str, Function] = {
    "add": lambda *values: sum(map(_integer, values)),
    "add1": lambda value: _integer(value) + 1,
    "sub": lambda a, b: _integer(a) - _integer(b),
    "mul": lambda *values: math.prod(map(_integer, values)),
    "div": _divided,
    "mod": lambda a, b: int(math.fmod(_integer(a), _integer(b))),
    "addf": lambda *values: sum(map(_number, values)),
    "subf": lambda value, *others: _number(value) - sum(map(_number, others)),
    "mulf": lambda *values: math.prod(map(_number, values)),
    "divf": lambda a, b: _number(a) / _number(b),
    "max": lambda *values: max(map(_integer, values)),
    "min": lambda *values: min(map(_integer, values)),
    "floor": lambda value: float(math.floor(_number(value))),
    "ceil": lambda value: float(math.ceil(_number(value))),
    "round": lambda value, digits: round(_number(value), digits),
    "int": _integer,
    "int64": _integer,
    "atoi": _integer,
    "float64": _number,
    "until": lambda stop: list(range(stop)),
    "untilStep": _until,
}

VALUES: Mapping[str, Function] = {
    "default": _default,
    "empty": lambda value: not value,
    "coalesce": lambda *values: next((value for value in values if value), None),
    "all": lambda *values: all(values),
    "any": lambda *values: any(values),
    "ternary": lambda yes, no, condition: yes if condition else no,
    "fail": _fail,
    "kindOf": kind_of,
    "kindIs": lambda kind, value: kind_of(value) == kind,
    "marshal": marshal,
    "toJson": marshal,
    "toRawJson": marshal,
    "toPrettyJson": lambda value: msgspec.json.format(marshal(value), indent=2),
    "fromJson": lambda text: msgspec.json.decode(text),
    "list": lambda *values: list(values),
    "tuple": lambda *values: list(values),
    "first": lambda values: values[0] if values else None,
    "last": lambda values: values[-1] if values else None,
    "rest": lambda values: values[1:],
    "initial": lambda values: values[:-1],
    "append": lambda values, value: [*values, value],
    "prepend": lambda values, value: [value, *values],
    "concat": lambda *values: [each for some in values for each in some],
    "reverse": lambda values: values[::-1],
    "uniq": _unique,
    "without": lambda values, *others: [each for each in values if each not in others],
    "compact": lambda values: [each for each in values if each],
    "has": lambda value, values: value in values,
    "dict": _dict,
    "get": lambda value, key: value.get(key, ""),
    "set": _set,
    "unset": _unset,
    "hasKey": lambda value, key: key in value,
    "keys": lambda *values: [key for value in values for key in sorted(value)],
    "values": lambda value: [value[key] for key in sorted(value)],
    "pick": lambda value, *keys: {key: value[key] for key in keys if key in value},
    "omit": lambda value, *keys: {key: each for key, each in value.items() if key not in keys},
    "pluck": lambda key, *values: [value[key] for value in values if key in value],
    "dig": _dig,
    "merge": _merge,
    "mergeOverwrite": lambda *values: _merge(*reversed(values)),
    "deepCopy": deepcopy,
}

FUNCTIONS: Mapping[str, Function] = {**BUILT_IN, **STRINGS, **NUMBERS, **VALUES}
