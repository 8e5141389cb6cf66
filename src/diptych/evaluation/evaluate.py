"""A model's scores on a set of examples, with intervals; for a classifier the baselines stand in the same table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diptych.evaluation.calibration import Bin
from diptych.evaluation.intervals import Counts, Score, Scores, classification_scores, difference, language_scores, ratio_score
from diptych.messages import _
from diptych.tasks.measure import measure
from diptych.tasks.packing import StreamRows
from diptych.tasks.task import Examples, Pretraining
from diptych.text.shards import TokenShards


@dataclass
class System:
    """One line of the table: a classifier and how it did."""

    name: str
    scores: Scores
    predicted: list[Any]
    seconds: float
    """Seconds to train it."""
    size_bytes: int
    milliseconds: float = math.nan
    """Milliseconds to predict one text."""
    counts: Counts | None = None
    """What the score that the systems are compared by is made of."""


@dataclass
class Comparison:
    """A fine-tuned model beside the baselines on the same test set."""

    systems: list[System]
    gold: list[Any]
    labels: tuple[str, ...] = ()
    table: np.ndarray | None = None
    """Confusions, where there are classes."""
    mistakes: list[tuple[str, str, str, float]] = field(default_factory=list)
    """(text, gold, predicted, probability), the most confident first."""
    reliability: list[Bin] = field(default_factory=list)
    """Of one label a text, how often each confidence was right."""
    top_words: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    watched: str = "accuracy"
    """The score that the systems are compared by."""

    @property
    def main(self) -> System:
        return self.systems[0]

    def against(self, other: System) -> Score:
        """How much better the main system is than `other`, by the paired difference."""
        if self.main.counts is not None and other.counts is not None:
            return self.main.counts.less(other.counts)
        gold = np.array(self.gold)
        return difference(np.array(self.main.predicted) == gold, np.array(other.predicted) == gold)

    def verdict(self) -> str:
        """The table in one sentence, honest about what it cannot tell."""
        others = [system for system in self.systems[1:] if system.name != "majority"]
        if len(self.gold) < 30:
            return _("{n} test examples are too few to tell the systems apart.").format(n=len(self.gold))
        if not others:
            return ""
        best = max(others, key=lambda system: system.scores[self.watched].value)
        gap = self.against(best)
        values = {"main": _(self.main.name), "best": _(best.name), "gap": 100 * abs(gap.value)}
        if gap.low > 0:
            return _("{main} is better than {best} by {gap:.1f} points, beyond the interval.").format(**values)
        if gap.high < 0:
            return _("{best} is better than {main} by {gap:.1f} points: ship the simple one.").format(**values)
        return _("No difference between {main} and {best} can be claimed: the simple one costs less.").format(**values)


def to_judge(examples: Examples) -> Examples:
    """The examples in the form in which they are judged: no document depends on those beside it."""
    return examples.judged() if isinstance(examples, StreamRows) else examples


def score_language(net: Any, task: Pretraining, examples: Examples, shards: TokenShards | None) -> Scores:
    """Perplexity and bits per byte of a model that writes; the loss on masked tokens, and next-sentence accuracy, of one
    that understands. Resampled by document."""
    measured = measure(net, task, to_judge(examples))
    documents, inverse = np.unique(measured.keys, return_inverse=True)
    scores = Scores()
    for name, totals in measured.totals.items():
        nats = np.bincount(inverse, totals, len(documents))
        counts = np.bincount(inverse, measured.counts[name], len(documents))
        if name == task.whole_text:
            num_bytes = None if shards is None else shards.text_bytes[documents].astype(float)
            scores.update(language_scores(nats, counts, num_bytes))
        else:
            kept = counts > 0
            score = ratio_score(task.titles.get(name, f"nats per {name}"), nats[kept], counts[kept])
            scores[score.name] = score
    return scores


def score_predictions(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> Scores:
    """Accuracy, macro-F1 and MCC of predicted labels."""
    numbers = {label: number for number, label in enumerate(labels)}
    gold_numbers = np.array([numbers.get(label, -1) for label in gold])
    return classification_scores(gold_numbers, np.array([numbers[label] for label in predicted]), len(labels))
