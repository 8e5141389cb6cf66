"""A model's scores on a set of examples, with intervals; for a classifier the baselines stand in the same table."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diptych.evaluation.baselines import Baseline, bag_of_words, majority, tfidf
from diptych.evaluation.intervals import Score, Scores, classification_scores, difference, language_scores, ratio_score
from diptych.evaluation.metrics import confusion
from diptych.messages import _
from diptych.tasks.measure import measure
from diptych.tasks.packing import StreamRows
from diptych.tasks.tables import LabelledRow
from diptych.tasks.task import Examples, Prediction, Pretraining
from diptych.text.shards import TokenShards


@dataclass
class System:
    """One line of the table: a classifier and how it did."""

    name: str
    scores: Scores
    predicted: list[str]
    seconds: float
    """Seconds to train it."""
    size_bytes: int
    milliseconds: float = math.nan
    """Milliseconds to predict one text."""


@dataclass
class Comparison:
    """A classifier beside the baselines on the same test set."""

    systems: list[System]
    gold: list[str]
    labels: tuple[str, ...]
    table: np.ndarray
    mistakes: list[tuple[str, str, str, float]] = field(default_factory=list)
    """(text, gold, predicted, probability), the most confident first."""
    top_words: dict[str, list[tuple[str, float]]] = field(default_factory=dict)

    @property
    def main(self) -> System:
        return self.systems[0]

    def against(self, other: System) -> Score:
        """How much more accurate the main system is than `other`, by the paired difference."""
        gold = np.array(self.gold)
        return difference(np.array(self.main.predicted) == gold, np.array(other.predicted) == gold)

    def verdict(self) -> str:
        """The table in one sentence, honest about what it cannot tell."""
        others = [system for system in self.systems[1:] if system.name != "majority"]
        if len(self.gold) < 30:
            return _("{n} test examples are too few to tell the systems apart.").format(n=len(self.gold))
        if not others:
            return ""
        best = max(others, key=lambda system: system.scores["accuracy"].value)
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


def compare(
    name: str,
    predictions: Sequence[Prediction],
    milliseconds: float,
    train: Sequence[LabelledRow],
    test: Sequence[LabelledRow],
    labels: tuple[str, ...],
    *,
    seconds: float,
    size_bytes: int,
    with_baselines: bool = True,
) -> Comparison:
    """The classifier `name` beside majority, bag of words and TF-IDF, trained on the same rows."""
    gold = [row.label or "" for row in test]
    predicted = [prediction.label for prediction in predictions]
    systems = [System(name, score_predictions(gold, predicted, labels), predicted, seconds, size_bytes, milliseconds)]
    top_words: dict[str, list[tuple[str, float]]] = {}
    if with_baselines:
        texts, train_labels = [" ".join(row.texts) for row in train], [row.label or "" for row in train]
        for fit in (majority, bag_of_words, tfidf):
            baseline = fit(texts, train_labels)
            systems.append(_system(baseline, test, gold, labels))
            top_words = baseline.top_words or top_words
    numbers = {label: number for number, label in enumerate(labels)}
    table = confusion([numbers.get(label, -1) for label in gold], [numbers[label] for label in predicted], len(labels))
    wrong = [(row, each) for row, each in zip(test, predictions, strict=True) if each.label != row.label]
    wrong.sort(key=lambda pair: -pair[1].probability)
    mistakes = [(" | ".join(row.texts), row.label or "", each.label, each.probability) for row, each in wrong[:12]]
    return Comparison(systems, gold, labels, table, mistakes, top_words)


def _system(baseline: Baseline, test: Sequence[LabelledRow], gold: list[str], labels: Sequence[str]) -> System:
    texts = [" ".join(row.texts) for row in test]
    start = time.perf_counter()
    predicted = baseline.predict(texts)
    milliseconds = 1000 * (time.perf_counter() - start) / max(1, len(texts))
    scores = score_predictions(gold, predicted, labels)
    return System(baseline.name, scores, predicted, baseline.seconds, baseline.size_bytes, milliseconds)
