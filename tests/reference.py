"""Every manipulation once more: slow, obvious, and sharing nothing with the real one.

A number is the pair ("number", its text), so that digits count.
"""

from __future__ import annotations

import json
from typing import Any

Number = tuple[str, str]

NOTHING = object()


def read(text: bytes | str) -> Any:
    """JSON with numbers as pairs."""
    return json.loads(text, parse_int=_number, parse_float=_number)


def _number(text: str) -> Number:
    return ("number", text)


def write(value: Any) -> str:
    """The other way round."""
    if isinstance(value, tuple):
        return str(value[1])
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{write(value[key])}" for key in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    return json.dumps(value)


def manipulate(document: Any, keys: dict[str, Any]) -> Any:
    """What a backend with these ``keys`` makes of a document; None: there is none."""
    if keys.get("is_collection"):
        document = None if document is NOTHING else {"collection": document}
    if document is None or document is NOTHING:
        document = {} if keys.get("target") else None
    else:
        document = _filtered(_target(document, keys.get("target", "")), keys)
    return {keys["group"]: document} if keys.get("group") else document


def _target(document: Any, target: str) -> Any:
    for key in target.split(".") if target else ():
        if not isinstance(document, dict) or not isinstance(document.get(key), dict):
            return {}
        document = document[key]
    return document


def _filtered(document: Any, keys: dict[str, Any]) -> Any:
    if keys.get("flatmap_filter"):
        return flatmap(document, keys["flatmap_filter"])
    if keys.get("allow"):
        document = _allowed(document, keys["allow"])
    elif keys.get("deny"):
        for path in keys["deny"]:
            document = _denied(document, path.split("."))
    return _renamed(document, keys.get("mapping", {}))


def _allowed(document: Any, allow: list[str]) -> Any:
    paths = [path.split(".") for path in allow]
    live = []
    for place, path in enumerate(paths):
        later = paths[place + 1 :]
        contradicted = any(
            path == other[: len(path)] or other == path[: len(other)] for other in later
        )
        if not contradicted:
            live.append(path)

    def kept(value: Any, path: list[str]) -> Any:
        if path in live:
            return value
        if not isinstance(value, dict):
            return NOTHING
        parts = {key: kept(each, [*path, key]) for key, each in value.items()}
        parts = {key: each for key, each in parts.items() if each is not NOTHING}
        return parts or NOTHING

    result = kept(document, [])
    return {} if result is NOTHING else result


def _denied(value: Any, path: list[str]) -> Any:
    if not isinstance(value, dict):
        return value
    if len(path) == 1:
        return {key: each for key, each in value.items() if key != path[0]}
    return {key: _denied(each, path[1:]) if key == path[0] else each for key, each in value.items()}


def _renamed(document: Any, mapping: dict[str, str]) -> Any:
    result = {key: value for key, value in document.items() if key not in mapping}
    for old, new in mapping.items():
        if old in document:
            result[new.split(".")[0]] = document[old]
    return result


def flatmap(document: Any, operations: list[dict[str, Any]]) -> Any:
    """On a tree in which everything is open: [kind, [[label, tree] ...], what it is when empty]."""
    tree = _opened(document)
    for operation in operations:
        paths = [path.split(".") for path in operation["args"]]
        if operation["type"] == "move":
            _move(tree, *paths)
        elif operation["type"] == "append":
            _append(tree, *paths)
        else:
            for path in paths:
                _delete(tree, path)
    return _closed(tree)


def _opened(value: Any) -> list[Any]:
    if isinstance(value, dict):
        edges = [[key, _opened(each)] for key, each in value.items()]
        return ["object", edges, None if edges else value]
    if isinstance(value, list):
        edges = [[str(place), _opened(each)] for place, each in enumerate(value)]
        return ["array", edges, None if edges else value]
    return ["object", [], value]


def _closed(tree: list[Any]) -> Any:
    kind, edges, empty = tree
    if not edges:
        return empty
    if kind == "array":
        return [_closed(below) for _, below in edges]
    return {label: _closed(below) for label, below in edges}


def _below(tree: list[Any], label: str) -> Any:
    return next((below for each, below in tree[1] if each == label), None)


def _all(tree: list[Any], path: list[str], way: tuple[str, ...] = ()) -> list[Any]:
    """Every subtree under a path, and the labels that lead to it."""
    if not path:
        return [(tree, way)]
    found = []
    for label, below in tree[1]:
        if path[0] in ("*", label):
            found += _all(below, path[1:], (*way, label))
    return found


def _put(tree: list[Any], label: str, below: list[Any]) -> None:
    if tree[0] == "array":
        while any(each == label for each, _ in tree[1]):
            label += "'"  # nobody can name it, so that it is in nobody's way
    else:
        tree[1][:] = [edge for edge in tree[1] if edge[0] != label]
    tree[1].append([label, below])


def _move(root: list[Any], source: list[str], target: list[str]) -> None:
    moved = []
    for tree, way in _all(root, source[:-1]):
        below = _below(tree, source[-1])
        if below is None:
            continue
        if len(source) == len(target):
            taken = _below(tree, target[-1]) is not None
            if taken and (tree[0] == "array" or source[-1] == target[-1]):
                continue
            tree[1][:] = [edge for edge in tree[1] if edge[0] != target[-1]]
            next(edge for edge in tree[1] if edge[0] == source[-1])[0] = target[-1]
        else:
            tree[1][:] = [edge for edge in tree[1] if edge[0] != source[-1]]
            moved.append((tree, way, below))
    for tree, way, below in moved:
        parent = tree
        if len(target) > len(source):
            for label in target[len(source) - 1 : -1]:
                if _below(parent, label) is None:
                    _put(parent, label, ["object", [], None])
                parent = _below(parent, label)
        else:
            parent = root
            for place, label in enumerate(target[:-1]):
                step = _below(parent, way[place] if label == "*" else label)
                if step is None:
                    break
                parent = step
        _put(parent, target[-1], below)


def _append(root: list[Any], source: list[str], target: list[str]) -> None:
    added, kept = _got(root, source), _got(root, target)
    if not isinstance(added, list) or not isinstance(kept, list):
        return
    tree = root
    for label in target[:-1]:
        if _below(tree, label) is None:
            _put(tree, label, ["object", [], None])
        tree = _below(tree, label)
    joined = _opened([*kept, *added])
    edge = next((edge for edge in tree[1] if edge[0] == target[-1]), None)
    if edge is None:
        tree[1].append([target[-1], joined])
    else:
        edge[1] = joined
    _delete(root, source)


def _got(tree: list[Any], path: list[str]) -> Any:
    if not path:
        return _closed(tree)
    if path[0] == "*":
        return [_got(below, path[1:]) for _, below in tree[1]] if tree[1] else None
    below = _below(tree, path[0])
    return None if below is None else _got(below, path[1:])


def _delete(root: list[Any], path: list[str]) -> None:
    for tree, _ in _all(root, path[:-1]):
        tree[1][:] = [edge for edge in tree[1] if path[-1] not in ("*", edge[0])]
