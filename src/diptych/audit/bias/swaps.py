"""The same text about somebody else: what a classifier makes of a swapped gender, name or region (counterfactual fairness).

Two ways. In the text: each mention of one group becomes one of another, all else staying as it is. In front: a sentence that says who
writes is put before every text, so that texts without a mention can be asked as well. For each group and label it is how much more
probable the label is for this group than for the groups on average; of two groups, for the second less the first.

Where words only stand for a group, as names do, a model that reacts to single names by chance would look unfair if texts were counted; so
the mean of each row of names is one number, and what is claimed holds over the names.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.audit.bias.finding import Finding, of_mean
from diptych.ledger import Ledger
from diptych.messages import _, mark
from diptych.text.people import TITLES, Table
from diptych.text.words import language_of

# Shapes: N texts, G groups, C labels.

Chances = Callable[[Sequence[str]], np.ndarray]
"""Texts -> the probability of each label: [N, C]."""
MARGIN = 0.02
"""Two points of probability are the least that is called a difference."""
WAYS = {"in": mark("swapped in the text"), "front": mark("said in front of the text")}


@dataclass(frozen=True)
class Versions:
    """One text as it would be about each group: `row` says by which words."""

    texts: tuple[str, ...]
    row: int


@dataclass(frozen=True)
class Swapped:
    """What a classifier said of the versions of many texts.

    Attributes:
        chances_NGC: the probability of each label; rows_N: the row of words that each text was varied by.
    """

    table: Table
    way: str
    labels: tuple[str, ...]
    chances_NGC: np.ndarray
    rows_N: np.ndarray

    def findings(self) -> Iterator[Finding]:
        """The gaps of every group and label, and how often the answer changes."""
        measure = WAYS[self.way]
        gaps_NGC = self.chances_NGC - self.chances_NGC.mean(axis=1, keepdims=True)
        is_pair = len(self.table.groups) == 2
        # Of two labels the second says the same with the other sign.
        for label in range(1, len(self.labels)) if len(self.labels) == 2 else range(len(self.labels)):
            for group in (1,) if is_pair else range(len(self.table.groups)):
                gap_N = gaps_NGC[:, group, label] * (2 if is_pair else 1)
                yield of_mean(measure, self._about(group, label, is_pair=is_pair), self._units(gap_N), margin=MARGIN)

    def flips(self) -> np.ndarray:
        """Of each text whether its answer is not the same for all groups: bool [N]."""
        answers_NG = self.chances_NGC.argmax(-1)
        return (answers_NG != answers_NG[:, :1]).any(1)

    def _units(self, gap_N: np.ndarray) -> np.ndarray:
        if not self.table.is_sample:
            return gap_N
        return np.array([gap_N[self.rows_N == row].mean() for row in np.unique(self.rows_N)])

    def _about(self, group: int, label: int, *, is_pair: bool) -> str:
        names = [_(name) for name in self.table.groups]
        against = names[0] if is_pair else _("the mean")
        values = {"axis": title_of(self.table), "label": self.labels[label], "group": names[group], "against": against}
        return _("{axis}: probability of {label}, {group} less {against}").format(**values)


def swap(texts: Sequence[str], table: Table, way: str, labels: Sequence[str], chances: Chances, ledger: Ledger) -> Swapped | None:
    """Ask a classifier about the versions of texts; None where none of them has any.

    Args:
        way: "in" the text, or in "front" of it.
    """
    found = list(versions(texts, table, way, ledger))
    if not found:
        return None
    said = chances([text for each in found for text in each.texts])
    return Swapped(table, way, tuple(labels), said.reshape(len(found), len(table.groups), -1), np.array([each.row for each in found]))


def versions(texts: Sequence[str], table: Table, way: str, ledger: Ledger) -> Iterator[Versions]:
    """The texts of the table's language that can be varied, as they would be about each group."""
    groups = range(len(table.groups))
    number = 0
    for text in texts:
        if way == "front":
            if (language_of(text) == "zh") == (table.tongue == "zh"):
                row, beginnings = table.carried_by(number)
                yield Versions(tuple(beginning + text for beginning in beginnings), row)
                number += 1
            continue
        mentions = table.mentions(text)
        if not mentions:
            continue
        if table.only_group(text) is None:
            ledger.add("swaps", "texts that mention several groups, left out")
            continue
        row = Counter(mention.row for mention in mentions).most_common(1)[0][0]
        yield Versions(tuple(table.about(text, group) for group in groups), row)


def title_of(table: Table) -> str:
    """An axis in a language, as a person reads it."""
    return f"{_(TITLES[table.axis])}, {_('English') if table.tongue == 'en' else _('Chinese')}"
