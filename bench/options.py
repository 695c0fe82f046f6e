"""Types of options, for the command lines of this folder. Each raises ArgumentTypeError."""

from __future__ import annotations

import argparse
import math


def positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def named_path(text: str) -> tuple[str, str]:
    """NAME=PATH."""
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError("must be NAME=PATH")
    return name, path
