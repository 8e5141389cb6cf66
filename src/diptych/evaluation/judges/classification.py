"""Labels of texts: accuracy, macro-F1 and MCC, beside the majority, word counts and TF-IDF."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.evaluation.baselines import Baseline, bag_of_words, majority, tfidf
from diptych.evaluation.evaluate import Comparison, score_predictions
from diptych.evaluation.intervals import Counts, Scores, mean_of
from diptych.evaluation.metrics import confusion
from diptych.messages import _, mark
from diptych.tasks.tables import LabelledRow
from diptych.tasks.task import Prediction


@dataclass
class Counting:
    """A counting classifier, asked as the task is asked."""

    fitted: Baseline

    def __post_init__(self) -> None:
        self.name, self.seconds, self.size_bytes = self.fitted.name, self.fitted.seconds, self.fitted.size_bytes

    def answers(self, inputs: Sequence[str | tuple[str, ...]]) -> list[Prediction]:
        texts = [each if isinstance(each, str) else " ".join(each) for each in inputs]
        return [Prediction(label, 1.0) for label in self.fitted.predict(texts)]


class ClassificationJudge:
    pipeline = "text-classification"

    def __init__(self) -> None:
        self._top_words: dict[str, list[tuple[str, float]]] = {}

    def counts(self, task: Any, rows: Sequence[LabelledRow], answers: Sequence[Prediction]) -> list[Counts]:
        right = [each.label == row.label for each, row in zip(answers, rows, strict=True)]
        return [mean_of(mark("accuracy"), np.array(right, dtype=float))]

    def scores(self, task: Any, rows: Sequence[LabelledRow], answers: Sequence[Prediction]) -> Scores:
        return score_predictions([row.label or "" for row in rows], [each.label for each in answers], task.labels)

    def short(self, answer: Prediction) -> str:
        return answer.label

    def baselines(self, task: Any, rows: Sequence[LabelledRow]) -> Iterable[Counting]:
        texts, labels = [" ".join(row.texts) for row in rows], [row.label or "" for row in rows]
        for fit in (majority, bag_of_words, tfidf):
            fitted = fit(texts, labels)
            self._top_words = fitted.top_words or self._top_words
            yield Counting(fitted)

    def show(self, task: Any, rows: Sequence[LabelledRow], answers: Sequence[Prediction], comparison: Comparison) -> None:
        numbers = {label: number for number, label in enumerate(task.labels)}
        gold = [numbers.get(row.label or "", -1) for row in rows]
        comparison.labels = task.labels
        comparison.table = confusion(gold, [numbers[each.label] for each in answers], len(numbers))
        comparison.top_words = self._top_words
        wrong = [(row, each) for row, each in zip(rows, answers, strict=True) if each.label != row.label]
        wrong.sort(key=lambda pair: -pair[1].probability)
        comparison.mistakes = [(" | ".join(row.texts), row.label or "", each.label, each.probability) for row, each in wrong[:12]]

    def about(self, task: Any) -> str:
        return _("A text classifier that was fine-tuned with Diptych: {labels}.").format(labels=", ".join(task.labels[:20]))

    def caveats(self, task: Any, train: Sequence[LabelledRow], comparison: Comparison | None) -> list[str]:
        caveats = []
        if comparison is not None and len(set(comparison.main.predicted)) == 1 and len(set(comparison.gold)) > 1:
            text = _("It predicts one class only ({label}): it has learnt nothing. Try a lower learning rate or more epochs.")
            caveats.append(text.format(label=comparison.main.predicted[0]))
        counts = Counter(row.label for row in train)
        most, least = max(counts.values()), min(counts.values())
        if most > 10 * least:
            text = _("The classes are uneven ({most:,} to {least:,} rows): look at macro-F1, not at accuracy.")
            caveats.append(text.format(most=most, least=least))
        return caveats
