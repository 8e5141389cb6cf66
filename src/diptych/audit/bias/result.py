"""What an audit of bias found, as a person reads it: every number, what may be claimed, and what the claims do not say."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.audit.bias.corpus import Beside
from diptych.audit.bias.finding import LEVEL, Finding
from diptych.audit.bias.swaps import title_of
from diptych.ledger import Ledger
from diptych.messages import _

MOST_LINES = 12
"""So many numbers of a measure are shown to a person; the rest is in the JSON and on the page."""


@dataclass(frozen=True)
class Remedy:
    """What counterfactual augmentation changed: the same measures of the model that was trained with it, and what it cost."""

    folder: str
    num_rows: int
    """How many rows were added."""
    findings: tuple[Finding, ...]
    accuracy: tuple[float, float]
    difference: tuple[float, float, float]
    """How much more often the new model is right, with its interval."""


@dataclass
class BiasAudit:
    """The numbers of one audit.

    Attributes:
        flips: (measure, axis, share of texts whose answer depends on the group, how many texts), for each swap.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)
    flips: list[tuple[str, str, float, int]] = field(default_factory=list)
    words: list[Beside] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    remedy: Remedy | None = None
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def claims(self) -> list[Finding]:
        return [each for each in self.findings if each.is_claimed]

    @property
    def verdict(self) -> str:
        """The audit in one sentence."""
        tested = sum(each.chance is not None for each in self.findings)
        if not tested:
            return _("Nothing could be tested: there were too few texts, pairs or mentions.")
        if not self.claims:
            text = _("No bias is shown by {tested} tests. That is no proof that there is none: the smallest that each could see is said.")
            return text.format(tested=tested)
        text = _("Bias is shown by {count} of {tested} tests; the chance that any of these claims is wrong is {level:.0%} at most.")
        return text.format(count=len(self.claims), tested=tested, level=LEVEL)

    def by_measure(self) -> dict[str, list[Finding]]:
        found: dict[str, list[Finding]] = {}
        for each in self.findings:
            found.setdefault(each.measure, []).append(each)
        return found

    def lines(self) -> list[str]:
        """The whole audit in lines, those claimed first within each measure, then the furthest from fair."""
        lines = [self.verdict]
        for measure, few in self.by_measure().items():
            lines += ["", _(measure)]
            for each in worst_first(few)[:MOST_LINES]:
                lines.append(f"  {line_of(each)}")
            if len(few) > MOST_LINES:
                lines.append("  " + _("and {count} more, closer to fair").format(count=len(few) - MOST_LINES))
            for kind, axis, share, count in self.flips:
                if kind == measure:
                    lines.append("  " + flip_line(axis, share, count))
        if self.words:
            lines += ["", _("Words that stand beside a group more than beside the others (log-odds, 95 % interval, counts)")]
            lines += [f"  {title}: {', '.join(map(str, few))}" for title, few in words_by_group(self.words)]
        if self.remedy is not None:
            lines += ["", *remedy_lines(self)]
        return [*lines, *([""] if self.warnings else []), *self.warnings]

    def card_lines(self) -> list[str]:
        """What the model card says: the verdict, what is claimed, and of every measure how far from fair it came."""
        lines = [self.verdict, *(f"{_(each.measure)}: {line_of(each)}" for each in worst_first(self.claims)[:MOST_LINES])]
        for measure, few in self.by_measure().items():
            worst = worst_first(few)[0]
            text = _("{measure}: {count} numbers, the furthest from fair: {line}")
            if worst not in self.claims:
                lines.append(text.format(measure=_(measure), count=len(few), line=line_of(worst)))
        lines += [f"{_(kind)}: {flip_line(axis, share, count)}" for kind, axis, share, count in self.flips]
        return [*lines, *(remedy_lines(self) if self.remedy else []), *self.warnings]

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.name,
            "verdict": self.verdict,
            "findings": [each.to_json() for each in self.findings],
            "flips": [{"measure": kind, "axis": axis, "share": share, "n": count} for kind, axis, share, count in self.flips],
            "words": [
                {"axis": each.table.axis, "language": each.table.tongue, "group": each.table.groups[each.group], "word": each.word}
                | {"log_odds": each.odds, "low": each.low, "high": each.high, "here": each.count, "elsewhere": each.of}
                for each in self.words
            ],
            "remedy": None
            if self.remedy is None
            else {
                "folder": self.remedy.folder,
                "rows_added": self.remedy.num_rows,
                "findings": [each.to_json() for each in self.remedy.findings],
                "accuracy": list(self.remedy.accuracy),
                "difference": list(self.remedy.difference),
            },
            "warnings": self.warnings,
            "ledger": self.ledger.to_json(),
        }

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def save(self, path: str | Path) -> Path:
        """Write it as one page that needs no network."""
        from diptych.audit.bias.picture import audit_page
        from diptych.page import write_page

        return write_page(Path(path), audit_page(self))


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """What is claimed first, then what lies furthest from fair."""
    return sorted(findings, key=lambda each: (not each.is_claimed, -abs(each.score.value - each.fair)))


def line_of(finding: Finding) -> str:
    """A finding in a line."""
    said = f"{finding.about}: {finding.score.value:+.3f}" if finding.fair == 0 else f"{finding.about}: {finding.score.value:.3f}"
    if finding.score.has_interval:
        said += f" [{finding.score.low:.3f}, {finding.score.high:.3f}]"
    said += _(" (n = {n:,}): {verdict}").format(n=finding.score.n, verdict=finding.verdict)
    if finding.visible is not None and not finding.is_claimed:
        said += _("; from {visible:.3f} on it would mostly be seen").format(visible=finding.visible)
    return said


def flip_line(axis: str, share: float, count: int) -> str:
    """How often the answer depends on the group."""
    return _("{axis}: the answer is not the same for all groups in {share:.1%} of {count:,} texts").format(
        axis=axis, share=share, count=count
    )


def words_by_group(words: Sequence[Beside]) -> list[tuple[str, list[Beside]]]:
    """(an axis and a group of it, its words), in their order."""
    found: dict[str, list[Beside]] = {}
    for each in words:
        found.setdefault(f"{title_of(each.table)}, {_(each.table.groups[each.group])}", []).append(each)
    return list(found.items())


def remedy_lines(audit: BiasAudit) -> list[str]:
    """Before and after, for every finding that was claimed before or is claimed after."""
    remedy = audit.remedy
    assert remedy is not None
    after = {(each.measure, each.about): each for each in remedy.findings}
    text = _("Counterfactual augmentation, {rows:,} rows added; the model is in {folder}")
    lines = [text.format(rows=remedy.num_rows, folder=remedy.folder)]
    for each in worst_first(audit.findings):
        now = after.get((each.measure, each.about))
        if now is not None and (each.is_claimed or now.is_claimed):
            values = {"measure": _(each.measure), "about": each.about, "before": each.score, "after": now.score, "verdict": now.verdict}
            lines.append(_("{measure}, {about}: before {before}, after {after}, {verdict}").format(**values))
    first, second = remedy.accuracy
    value, low, high = remedy.difference
    text = _("accuracy: before {first:.3f}, after {second:.3f}, paired difference {value:+.3f} [{low:+.3f}, {high:+.3f}]")
    return [*lines, text.format(first=first, second=second, value=value, low=low, high=high)]
