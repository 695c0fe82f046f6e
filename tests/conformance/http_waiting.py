"""Recorded cases that fail, and why. A case that passes must not stand here."""

from __future__ import annotations

from collections.abc import Mapping

WAITING: Mapping[str, str | Mapping[str, str]] = {}
"""What needs something that does not exist yet: a whole file, or cases of one."""

DIFFERENT: Mapping[str, Mapping[str, str]] = {}
"""What is different on purpose, or cannot be otherwise."""
