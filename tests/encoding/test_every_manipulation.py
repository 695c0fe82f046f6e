"""10,000 generated documents through generated manipulations, beside an obvious version of them."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from gateway.config.proxy import ProxySettings
from gateway.config.structs import Backend
from gateway.core.merging import merge
from gateway.core.proxy import COMPLETE, INCOMPLETE, Response
from gateway.encoding import encode_json
from gateway.encoding.manipulation import build_reading

from .. import reference

DOCUMENTS = 10_000
PER_TEST = 1_000

KEYS = ("a", "b", "c", "d", "collection", "dot.key", "", "0", "1", "é")
NUMBERS = (
    "0",
    "-0",
    "1.50",
    "1e5",
    "-2.5E-7",
    "9007199254740993",
    "123456789012345678901234567890",
)
TEXTS = ("", "x", '"quoted"', "<é\u2028>", "\x00", "1", "\U0001f600")


class Generator:
    """Documents and settings that often meet: few keys, few levels."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, depth: int) -> Any:
        kind = self.random.random()
        if depth and kind < 0.4:
            return self.document(depth - 1)
        if depth and kind < 0.6:
            return [self.value(depth - 1) for _ in range(self.random.randrange(4))]
        if kind < 0.8:
            return ("number", self.random.choice(NUMBERS))
        return self.random.choice((None, True, False, *TEXTS))

    def document(self, depth: int) -> dict[str, Any]:
        keys = self.random.sample(KEYS, self.random.randrange(6))
        return {key: self.value(depth) for key in keys}

    def path(self, labels: tuple[str, ...] = KEYS[:4]) -> str:
        return ".".join(self.random.choices(labels, k=self.random.randrange(1, 4)))

    def paths(self) -> list[str]:
        return list(dict.fromkeys(self.path() for _ in range(self.random.randrange(1, 4))))

    def operation(self) -> dict[str, Any]:
        labels = ("a", "a", "b", "b", "c", "*", "*", "collection", "0", "1")
        kind = self.random.choice(("move", "move", "append", "del"))
        source = self.random.choices(labels, k=self.random.randrange(1, 5))
        # Most moves stay near where they begin.
        shared = self.random.randrange(len(source)) if self.random.random() < 0.8 else 0
        target = [*source[:shared], self.path(labels)]
        return {"type": kind, "args": [".".join(source), ".".join(target)]}

    def settings(self) -> dict[str, Any]:
        chosen: dict[str, Any] = {
            "target": self.path,
            "allow": self.paths,
            "deny": self.paths,
            "mapping": lambda: {self.path(KEYS): self.path(KEYS) for _ in range(3)},
            "group": lambda: self.random.choice(("g", "g.h", "a")),
            "is_collection": lambda: True,
            "flatmap_filter": lambda: [self.operation() for _ in range(3)],
        }
        share = {"target": 0.15, "is_collection": 0.1, "flatmap_filter": 0.4}
        return {
            key: make()
            for key, make in chosen.items()
            if self.random.random() < share.get(key, 0.3)
        }

    def body(self, settings: dict[str, Any]) -> tuple[Any, str]:
        """A document as the reference wants it, and as a backend sends it."""
        if self.random.random() < 0.02:
            return reference.NOTHING, "null" if not settings.get("is_collection") else ""
        if settings.get("is_collection"):
            document: Any = [self.value(3) for _ in range(self.random.randrange(4))]
        else:
            document = self.document(4)
        return document, reference.write(document)


def backend(settings: dict[str, Any]) -> Backend:
    operations = settings.get("flatmap_filter", ())
    keys = {key: each for key, each in settings.items() if key != "flatmap_filter"}
    extra = {"proxy": msgspec.convert({"flatmap_filter": operations}, ProxySettings)}
    return msgspec.convert({**keys, "extra_config": extra if operations else {}}, Backend)


@pytest.mark.parametrize("seed", range(DOCUMENTS // PER_TEST))
def test_manipulated_documents_are_equal_to_those_of_the_reference(seed: int) -> None:
    generator = Generator(seed)
    for _ in range(PER_TEST):
        settings = generator.settings()
        document, body = generator.body(settings)
        read = build_reading(backend(settings))
        expected = reference.manipulate(document, settings)
        found = reference.read(encode_json(read(body.encode())))
        assert found == expected, (body, settings)


def test_merged_documents_are_equal_to_those_of_the_reference() -> None:
    generator = Generator(-1)
    for _ in range(PER_TEST):
        parts: list[Response] = []
        expected: dict[str, Any] = {}
        for _ in range(generator.random.randrange(2, 5)):
            settings = generator.settings()
            document, body = generator.body(settings)
            data = build_reading(backend(settings))(body.encode())
            parts.append(Response(data, INCOMPLETE if data is None else COMPLETE))
            expected.update(reference.manipulate(document, settings) or {})
        assert reference.read(encode_json(merge(parts).data)) == expected
