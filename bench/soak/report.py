"""The report of a soak test, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from .accounts import Account, total_duplicates
from .flows import Flow
from .load import Load
from .timeline import Timeline
from .watch import Watch

SHOWN = 10
"""Missing numbers of an account that are printed."""


class Report(Struct):
    """``accounts``: of the flows, in their order. ``problems``: what must not happen besides."""

    flows: Sequence[Flow]
    accounts: Sequence[Account]
    load: Load
    timeline: Timeline
    watch: Watch
    problems: list[str]

    @property
    def lost(self) -> int:
        return self._missing(are_published=False)

    @property
    def false_200(self) -> int:
        """Requests to publish that were answered with 200, and whose message the broker does not
        have."""
        return self._missing(are_published=True)

    def _missing(self, *, are_published: bool) -> int:
        return sum(
            len(account.missing)
            for flow, account in zip(self.flows, self.accounts, strict=True)
            if flow.is_published == are_published
        )

    @property
    def is_good(self) -> bool:
        problems = [*self.problems, *(event.problem for event in self.timeline.events)]
        unknown = sum(account.unknown for account in self.accounts)
        return not (self.lost or self.false_200 or unknown or any(problems))

    def progress(self) -> str:
        """One line."""
        statuses: Counter[str] = sum(self.load.statuses.values(), Counter())
        events = self.timeline.events
        return (
            f"{self.timeline.now():7.0f} s  requests {self.load.sent:,} ({counts(statuses)}), "
            f"messages {sum(map(len, self.accounts)):,}, "
            f"duplicates {total_duplicates(self.accounts).total():,}, "
            f"memory {self.watch.latest}, "
            f"faults {len(events)}{f', the last {events[-1].name}' if events else ''}"
        )

    def lines(self) -> Iterator[str]:
        yield f"{'requests':24}{self.load.sent:,}, and {self.load.skipped:,} that were not sent"
        for kind, statuses in self.load.statuses.items():
            yield f"  {kind:22}{counts(statuses)}"
        yield f"  connections that ended without a response, by gateway: {self.load.unanswered}"
        yield f"{'messages':24}numbered confirmed  received   waiting missing duplicates"
        for account in self.accounts:
            yield f"  {_row(account)}"
        for account in self.accounts:
            if missing := account.missing:
                shown = (f"{number} ({account.time(number):.1f} s)" for number in missing[:SHOWN])
                yield f"  missing of {account.name}, and when published: {', '.join(shown)}"
        yield f"{'faults':24}{len(self.timeline.events)}"
        yield from (f"  {event}" for event in self.timeline.events)
        yield f"memory of the gateway that no fault stops: {self.watch}"
        yield from (f"problem: {problem}" for problem in self.problems)
        duplicates = total_duplicates(self.accounts)
        yield (
            f"lost {self.lost}, answered falsely {self.false_200}, "
            f"duplicates {duplicates.total()}{f' ({counts(duplicates)})' if duplicates else ''}"
        )


def _row(account: Account) -> str:
    duplicates = counts(account.duplicates)
    unknown = f"; unknown numbers: {account.unknown}" if account.unknown else ""
    return (
        f"{account.name:22}{len(account):8,} {account.confirmed:9,} {account.received:9,} "
        f"{account.remaining:9,} {len(account.missing):7,} {account.duplicates.total():10,}  "
        f"{duplicates}{unknown}"
    )


def counts(of: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {number:,}" for name, number in sorted(of.items()))
