"""What ``check`` and ``audit`` say, as a document. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ...config.findings import part_of
from ...core.review import Review
from .state import VERSION_OF_STATE, FindingCounts, FindingsDocument, FindingState


def findings_document(review: Review) -> FindingsDocument:
    """Those of ``check``, then those of ``audit``."""
    return FindingsDocument(VERSION_OF_STATE, True, [*_findings(review)])


def _findings(review: Review) -> Iterator[FindingState]:
    for number, each in enumerate(review.findings):
        yield FindingState(
            f"check {number}", "check", each.severity, "", each.path, each.name, each.text
        )
    for one in review.recommendations:
        for path in one.paths:
            name = review.names.get(part_of(path), "")
            key = f"audit {one.rule} {path}"
            yield FindingState(key, "audit", one.severity, one.rule, path, name, one.message)


def counts_of(review: Review) -> FindingCounts:
    """A rule of ``audit`` counts once, however many places it concerns."""
    found = Counter(each.severity for each in review.findings)
    rules = Counter(each.severity for each in review.recommendations)
    return FindingCounts(
        True,
        found["warning"],
        found["hint"],
        rules["CRITICAL"],
        rules["HIGH"],
        rules["MEDIUM"],
        rules["LOW"],
    )
