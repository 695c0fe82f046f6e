"""docs/architecture.md names what exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_each_test_that_the_table_of_sharing_names_exists() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", text))
    files = (ROOT / "tests").rglob("test_*.py")
    defined = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
    assert len(named) > 15
    assert named - defined == set()
