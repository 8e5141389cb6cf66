"""What came out: the table, and in one sentence which system to ship."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from diptych.evaluation.evaluate import System
from diptych.evaluation.intervals import Score, Scores
from diptych.ledger import Ledger
from diptych.messages import _

FEWEST = 30
"""With fewer answers nothing is said to be better than anything."""


@dataclass(frozen=True)
class Point:
    """What each system scored when it had learnt from so many labels."""

    num_labels: int
    systems: list[System]


@dataclass
class Decision:
    """Systems beside each other, the cheapest first, all asked about the same rows."""

    systems: list[System]
    num_asked: int
    how: str
    """How they were tested, in a sentence."""
    watched: str = "accuracy"
    groups: dict[str, list[Scores]] = field(default_factory=dict)
    """Where groups were left out: what each system scored on each, in the order of `systems`."""
    curve: list[Point] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    seconds: float = math.nan

    @property
    def best(self) -> System:
        """The one with the highest score."""
        return max(self.systems, key=lambda system: system.scores[self.watched].value)

    @property
    def chosen(self) -> System:
        """The cheapest that is not shown to be worse than the best, by the interval of their paired difference."""
        return next(system for system in self.systems if system is self.best or _gap(self.best, system).low <= 0)

    def verdict(self) -> str:
        """Which to ship and why, in one sentence."""
        chosen, best = self.chosen, self.best
        if self.num_asked < FEWEST:
            return _("{n} answers are too few to tell the systems apart: label more rows.").format(n=self.num_asked)
        if chosen is self.systems[0] and chosen.name == "majority":
            return _("No system is better than always giving the same label: the texts do not tell, or there are too few of them.")
        if chosen is not best:
            text = _(
                "Ship {chosen}: no difference to {best} can be claimed ({span}), and a text takes {ms:.1f} ms in place of {best_ms:.1f}."
            )
            gap = _gap(best, chosen)
            times = {"ms": chosen.milliseconds, "best_ms": best.milliseconds}
            return text.format(chosen=_(chosen.name), best=_(best.name), span=_span(gap), **times)
        others = [system for system in self.systems if system is not best and system.name != "majority"]
        if not others:
            return _("Ship {chosen}.").format(chosen=_(chosen.name))
        second = max(others, key=lambda system: system.scores[self.watched].value)
        gap = _gap(best, second)
        if gap.low > 0:
            return _("Ship {chosen}: it is better than {second} ({span}).").format(
                chosen=_(best.name), second=_(second.name), span=_span(gap)
            )
        text = _("Ship {chosen}: no difference to {best} can be claimed ({span}), and it costs less.")
        return text.format(chosen=_(chosen.name), best=_(second.name), span=_span(gap))

    def more_labels(self) -> str:
        """What the last doubling of the labels brought, in one sentence; nothing where there is no curve."""
        if len(self.curve) < 2:
            return ""
        half, full = self.curve[-2:]
        number = max(range(len(full.systems)), key=lambda number: full.systems[number].scores[self.watched].value)
        gap = _gap(full.systems[number], half.systems[number])
        values = {"name": _(full.systems[number].name), "few": half.num_labels, "many": full.num_labels, "span": _span(gap)}
        if gap.low > 0:
            text = _("From {few:,} to {many:,} labels {name} got better ({span}): more labels are likely to help.")
        else:
            text = _("From {few:,} to {many:,} labels no difference can be claimed for {name} ({span}): more of the same may bring little.")
        return text.format(**values)

    def table(self) -> list[list[str]]:
        """Systems down; scores with their intervals, and what each costs, across."""
        names = [name for name in (self.watched, "macro-F1") if name in self.systems[0].scores]
        rows = [["", *(_(name) for name in names), _("training"), _("size"), _("per text")]]
        for system in self.systems:
            costs = [f"{system.seconds:.1f} s", f"{system.size_bytes / 1e6:,.1f} MB", f"{system.milliseconds:.2f} ms"]
            rows.append([_(system.name), *(str(system.scores[name]) for name in names), *costs])
        return rows

    def group_table(self) -> list[list[str]]:
        """Groups down, systems across."""
        rows = [[_("left out"), "n", *(_(system.name) for system in self.systems)]]
        for name, scores in self.groups.items():
            rows.append([name, f"{scores[0][self.watched].n:,}", *(str(each[self.watched]) for each in scores)])
        return rows

    def curve_table(self) -> list[list[str]]:
        """Numbers of labels down, systems across."""
        rows = [[_("labels"), *(_(system.name) for system in self.curve[0].systems)]] if self.curve else []
        rows += [[f"{point.num_labels:,}", *(str(system.scores[self.watched]) for system in point.systems)] for point in self.curve]
        return rows

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "verdict": self.verdict(),
            "ship": self.chosen.name,
            "how": self.how,
            "systems": {system.name: _plain(system) for system in self.systems},
            "notes": self.notes,
            "seconds": round(self.seconds, 1),
        }
        if self.groups:
            names = [system.name for system in self.systems]
            found["groups"] = {
                group: {name: each.to_json() for name, each in zip(names, scores, strict=True)} for group, scores in self.groups.items()
            }
        if self.curve:
            found["curve"] = [
                {"labels": point.num_labels, **{system.name: system.scores.to_json() for system in point.systems}} for point in self.curve
            ]
            found["more labels"] = self.more_labels()
        return found


def by_cost(systems: Sequence[System]) -> list[System]:
    """The quickest to answer first; of two that are about as quick the smaller, and of two about as small the one that is soon trained."""

    def about(value: float) -> int:
        return round(math.log2(max(value, 1e-3)))

    return sorted(systems, key=lambda system: (about(system.milliseconds), about(system.size_bytes), system.seconds))


def _plain(system: System) -> dict[str, Any]:
    costs = {"training seconds": system.seconds, "bytes": system.size_bytes, "milliseconds per text": system.milliseconds}
    return {"scores": system.scores.to_json(), **{name: round(value, 4) for name, value in costs.items()}}


def _gap(first: System, second: System) -> Score:
    assert first.counts is not None and second.counts is not None
    return first.counts.less(second.counts)


def _span(gap: Score) -> str:
    return _("{low:+.1f} to {high:+.1f} points").format(low=100 * gap.low, high=100 * gap.high)
