"""What there is to say about a configuration: the findings of ``check`` and what ``audit``
recommends. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from ..config.findings import Finding
from .rule import Severity


class Recommendation(Struct, frozen=True):
    """A rule of ``audit`` that holds. ``paths``: where in the file, as in ``$.endpoints[0]``."""

    rule: str
    severity: Severity
    message: str
    paths: tuple[str, ...]


class Review(Struct, frozen=True):
    """``placeholders``: strings of the configuration in which ``${NAME}`` was replaced, and their
    text in the file. ``names``: of endpoints and agents, by their paths in the file."""

    findings: tuple[Finding, ...] = ()
    recommendations: tuple[Recommendation, ...] = ()
    names: Mapping[str, str] = {}
    placeholders: Mapping[str, str] = {}
    file: str = ""
