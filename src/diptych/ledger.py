"""Counts of what was kept, cut, dropped, replaced or merged, stage by stage: nothing is cut in silence.

Every stage that can lose something takes a `Ledger` and says so in it. The ledger is shown to the user, written into the
model folder (`diptych/ledger.json`) and printed in the report and the card.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from diptych.messages import _


@dataclass
class Entry:
    """One line: how many, of how many, and up to three places where it happened."""

    count: int = 0
    total: int | None = None
    examples: list[str] = field(default_factory=list)


class Ledger:
    """Counts by (stage, what). `stage` and `what` are English phrases that `messages` can translate."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], Entry] = {}

    def add(self, stage: str, what: str, count: int = 1, *, total: int | None = None, where: str | None = None) -> None:
        """Add `count` to a line; `total` says out of how many, `where` keeps one of the first three places.

        Example: `ledger.add("corpus", "bytes that were not valid text, replaced", 3, where="notes/a.txt")`
        """
        entry = self._entries.setdefault((stage, what), Entry())
        entry.count += count
        if total is not None:
            entry.total = total
        if where is not None and count and len(entry.examples) < 3 and where not in entry.examples:
            entry.examples.append(where)

    def count(self, stage: str, what: str) -> int:
        """How many were counted under this line; 0 where there is no such line."""
        entry = self._entries.get((stage, what))
        return entry.count if entry else 0

    def merge(self, other: "Ledger") -> None:
        """Add every line of `other` to this ledger, which was counted on other things: the totals add up as well."""
        for key, entry in other._entries.items():
            mine = self._entries.setdefault(key, Entry())
            mine.count += entry.count
            if entry.total is not None:
                mine.total = (mine.total or 0) + entry.total
            mine.examples += [where for where in entry.examples if where not in mine.examples][: 3 - len(mine.examples)]

    def __iter__(self) -> Iterator[tuple[str, str, Entry]]:
        for (stage, what), entry in self._entries.items():
            yield stage, what, entry

    def __len__(self) -> int:
        return len(self._entries)

    def lines(self) -> list[str]:
        """The ledger for a person, one line an entry, in the user's language; lines that count 0 are left out."""
        lines = []
        for stage, what, entry in self:
            if entry.count == 0:
                continue
            of = f" / {entry.total:,}" if entry.total is not None else ""
            where = _("  ({places})").format(places=", ".join(entry.examples)) if entry.examples else ""
            line = _("{stage}: {what}: {count}").format(stage=_(stage), what=_(what), count=f"{entry.count:,}{of}")
            lines.append(line + where)
        return lines

    def to_json(self) -> list[dict[str, object]]:
        """The ledger for a machine: a list of {stage, what, count, total, examples}."""
        return [{"stage": stage, "what": what, "count": e.count, "total": e.total, "examples": e.examples} for stage, what, e in self]

    @classmethod
    def from_json(cls, rows: list[dict]) -> "Ledger":
        ledger = cls()
        for row in rows:
            ledger._entries[row["stage"], row["what"]] = Entry(row["count"], row["total"], list(row["examples"]))
        return ledger

    @classmethod
    def load(cls, path: Path) -> "Ledger":
        return cls.from_json(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else cls()
