"""What a corpus says of whom, before any model learns from it: labels by group, and the words that stand beside each.

A classifier learns from the first that a group goes with a label; a language model from the second what is said of whom. Words are
compared by their log-odds with a prior from the whole corpus (Monroe et al. 2008, "Fightin' Words"), which keeps rare words from winning.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.audit.bias.finding import FEWEST, Finding, of_score
from diptych.audit.bias.swaps import title_of
from diptych.evaluation.intervals import Counts
from diptych.messages import _, mark
from diptych.text.people import Table
from diptych.text.words import sentences, word_list

LABELS = mark("label by group, in the texts")
MARGIN = 0.05
"""Five points of share are the least that is called a difference."""
PRIOR_SHARE, PRIOR_WORDS = 0.05, 500.0
"""The prior weighs as much as a twentieth of the corpus, and as so many words at most."""
RAREST = 5
WORDS_SHOWN = 8
NORMAL = 1.96


@dataclass(frozen=True)
class Beside:
    """A word that stands in sentences about one group more than about another.

    Attributes:
        odds: the log-odds ratio, above 0 for the group; low, high: its 95 % interval.
        count: how often it stands there; of: how often in sentences about the others.
    """

    table: Table
    group: int
    word: str
    odds: float
    low: float
    high: float
    count: int
    of: int

    def __str__(self) -> str:
        return f"{self.word} {self.odds:+.2f} [{self.low:+.2f}, {self.high:+.2f}] ({self.count:,} : {self.of:,})"


def label_findings(texts: Sequence[str], labels: Sequence[str], tables: Iterable[Table]) -> Iterator[Finding]:
    """For each group that texts mention and each label: its share among them less its share among texts about the other groups."""
    said = np.array(labels)
    names = sorted(set(labels))
    for table in tables:
        about_N = np.array([-1 if (group := table.only_group(text)) is None else group for text in texts])
        present = [group for group in range(len(table.groups)) if (about_N == group).sum() >= FEWEST]
        if len(present) < 2:
            continue
        for label in names[1:] if len(names) == 2 else names:
            for group in present[1:] if len(present) == 2 else present:
                is_group_N, is_other_N = about_N == group, (about_N >= 0) & (about_N != group)
                if is_other_N.sum() < FEWEST:
                    continue
                others = [_(table.groups[each]) for each in present if each != group]
                values = {"axis": title_of(table), "label": label, "group": _(table.groups[group]), "against": ", ".join(others)}
                about = _("{axis}: share of {label}, {group} less {against}").format(**values)
                kept = is_group_N | is_other_N
                counts = gap_of(about, (said == label)[kept], is_group_N[kept])
                yield of_score(LABELS, about, counts.score(), margin=MARGIN)


def gap_of(name: str, has_N: np.ndarray, is_group_N: np.ndarray) -> Counts:
    """The share of texts that have a label among those of a group, less that among the rest."""
    columns = (has_N & is_group_N, is_group_N, has_N & ~is_group_N, ~is_group_N)

    def value(sums: np.ndarray) -> np.ndarray:
        return sums[..., 0] / np.maximum(1, sums[..., 1]) - sums[..., 2] / np.maximum(1, sums[..., 3])

    return Counts(name, np.stack(columns, axis=1).astype(float), value)


def words_beside(texts: Iterable[str], tables: Sequence[Table]) -> list[Beside]:
    """The words that tell most who a sentence is about, for each group that is mentioned; only those whose interval leaves 0 out."""
    counts: dict[tuple[int, int], Counter[str]] = {}
    prior: Counter[str] = Counter()
    for text in texts:
        for start, stop in sentences(text):
            sentence = text[start:stop]
            found = [(number, group) for number, table in enumerate(tables) if (group := table.only_group(sentence)) is not None]
            words = word_list(sentence)
            prior.update(words)
            for number, group in found:
                counts.setdefault((number, group), Counter()).update(words)
    shown: list[Beside] = []
    for number, table in enumerate(tables):
        own = {word for row in table.rows for name in row for word in word_list(name)}
        present = [group for group in range(len(table.groups)) if (number, group) in counts]
        for group in present if len(present) > 1 else ():
            rest: Counter[str] = Counter()
            for other in present:
                rest.update(counts[number, other] if other != group else {})
            shown += _ranked(table, group, counts[number, group], rest, prior, own)
    return shown


def _ranked(table: Table, group: int, here: Counter[str], there: Counter[str], prior: Counter[str], own: set[str]) -> list[Beside]:
    total = max(1, sum(prior.values()))
    weight = min(PRIOR_WORDS, PRIOR_SHARE * total)
    sizes = sum(here.values()) + weight, sum(there.values()) + weight
    ranked = []
    for word, count in here.items():
        if count + there[word] < RAREST or word in own:
            continue
        before = weight * prior[word] / total
        first, second = count + before, there[word] + before
        odds = math.log(first / (sizes[0] - first)) - math.log(second / (sizes[1] - second))
        spread = math.sqrt(1 / first + 1 / second)
        if odds - NORMAL * spread > 0:
            found = Beside(table, group, word, odds, odds - NORMAL * spread, odds + NORMAL * spread, count, there[word])
            ranked.append((odds / spread, found))
    return [found for _rank, found in sorted(ranked, key=lambda pair: (-pair[0], pair[1].word))[:WORDS_SHOWN]]
