"""Options of the command lines of this folder, and their types, which raise ArgumentTypeError."""

from __future__ import annotations

import argparse
import math
from typing import Any, Protocol


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


class Options(Protocol):
    """A parser, or a group of one."""

    def add_argument(self, *names: str, **settings: Any) -> Any: ...


def add_peer(options: Options) -> None:
    options.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=PATH",
        type=named_path,
        help="measure another gateway on the same configuration; it must have KrakenD's command "
        "line; may be repeated",
    )
