"""The files of the page, without a browser: what they never do, and that their colours differ."""

from __future__ import annotations

import re
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import pytest

from .static_server import ASSETS

AXE = Path(__file__).parent / "axe"
SCRIPT = (ASSETS / "page.js").read_text()
STYLE = (ASSETS / "page.css").read_text()
DOCUMENT = (ASSETS / "index.html").read_text()

MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|setHTML|srcdoc|DOMParser|"
    r"createContextualFragment|\beval\b|new Function|javascript:"
)
"""What makes markup or a script of a text."""

NAMESPACE = "http://www.w3.org/2000/svg"


@pytest.mark.parametrize("folder", [ASSETS / "uplot", AXE], ids=["uplot", "axe"])
def test_vendored_files_are_those_of_their_version(folder: Path) -> None:
    hashes = re.findall(
        r"^([0-9a-f]{64})  (.+)$", (folder / "VERSION.txt").read_text(), re.MULTILINE
    )
    assert {name for _, name in hashes} == {
        path.name for path in folder.iterdir() if path.name != "VERSION.txt"
    }
    for expected, name in hashes:
        assert sha256((folder / name).read_bytes()).hexdigest() == expected, name


def test_no_text_becomes_markup_or_a_script() -> None:
    assert MARKUP.findall(SCRIPT) == []


def test_the_document_has_nothing_that_its_policy_forbids() -> None:
    assert re.findall(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", DOCUMENT) == []


def test_the_page_needs_nothing_from_elsewhere() -> None:
    for text in (DOCUMENT, STYLE, SCRIPT.replace(NAMESPACE, "")):
        assert re.findall(r"https?://|//[\w-]+\.\w+", text) == []
    # Relative to the page, wherever it is.
    assert re.findall(r'(?:href|src)="(/[^"]*)"', DOCUMENT) == []


# Machado, Oliveira and Fernandes 2009: how colours look to people without one kind of cone, as
# factors of linear red, green and blue.
VISION = {
    "full": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
TO_XYZ = (
    (0.4124 / 0.9505, 0.3576 / 0.9505, 0.1805 / 0.9505),
    (0.2126, 0.7152, 0.0722),
    (0.0193 / 1.089, 0.1192 / 1.089, 0.9505 / 1.089),
)
"""Of linear sRGB, relative to white."""

SHOWN_TOGETHER = [
    ("blue", "quiet", "purple", "orange", "red"),
    ("blue", "red", "grey"),
    ("blue", "green", "purple"),
    ("ok-mark", "warning-mark", "critical-mark"),
]
"""Colours of one chart, and those of the levels."""

JUST_DIFFERENT = 10.0
"""Of the distance in CIELAB: 2.3 can just be noticed side by side."""


def lab(colour: str, vision: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5))
    linear = [
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4
        for each in (red, green, blue)
    ]
    for matrix in (VISION[vision], TO_XYZ):
        linear = [sum(map(lambda a, b: a * b, row, linear)) for row in matrix]
    x, y, z = (max(each, 0.0) ** (1 / 3) for each in linear)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_that_are_shown_together_can_be_told_apart(scheme: str, vision: str) -> None:
    light, dark = STYLE.split("@media (prefers-color-scheme: dark)")[:2]
    text = light if scheme == "light" else dark[: dark.index("}")]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", text))
    close = {}
    for together in SHOWN_TOGETHER:
        for one, other in combinations(together, 2):
            difference = [
                a - b
                for a, b in zip(lab(colours[one], vision), lab(colours[other], vision), strict=True)
            ]
            distance = sum(each * each for each in difference) ** 0.5
            if distance < JUST_DIFFERENT:
                close[one, other] = round(distance, 1)
    assert close == {}
