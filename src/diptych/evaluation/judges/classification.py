"""Labels of texts, each kind judged by its own measures, beside the majority, word counts and TF-IDF."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.evaluation.baselines import Baseline, bag_of_words, majority, tfidf
from diptych.evaluation.baselines.labels import constant, several_tfidf, similarity, tfidf_regression
from diptych.evaluation.calibration import reliability
from diptych.evaluation.chances import calibration_error_of, pr_area_of, share_of
from diptych.evaluation.correlation import pearson_of, spearman_of
from diptych.evaluation.evaluate import Comparison, score_predictions
from diptych.evaluation.intervals import Counts, Scores, f1_of, macro_f1_of, mean_of
from diptych.evaluation.metrics import confusion
from diptych.messages import _, mark
from diptych.tasks.answers import Grade, Prediction, SeveralLabels
from diptych.tasks.labels import grade_of, names_of, shown
from diptych.tasks.tables import LabelledRow


@dataclass
class Counting:
    """A counting classifier, asked as the task is asked."""

    fitted: Baseline

    def __post_init__(self) -> None:
        self.name, self.seconds, self.size_bytes = self.fitted.name, self.fitted.seconds, self.fitted.size_bytes

    def answers(self, inputs: Sequence[str | tuple[str, ...]]) -> list[Prediction]:
        texts = [each if isinstance(each, str) else " ".join(each) for each in inputs]
        if self.fitted.chances is None:
            return [Prediction(label, 1.0) for label in self.fitted.predict(texts)]
        return predictions(self.fitted.labels, self.fitted.chances(texts))


def predictions(labels: Sequence[str], chances_NC: np.ndarray) -> list[Prediction]:
    """The most probable label of each text, with the probabilities of all."""
    found = []
    for chances in chances_NC.tolist():
        best = max(range(len(chances)), key=chances.__getitem__)
        found.append(Prediction(labels[best], chances[best], dict(zip(labels, chances, strict=True))))
    return found


class ClassificationJudge:
    pipeline = "text-classification"

    def __init__(self) -> None:
        self._top_words: dict[str, list[tuple[str, float]]] = {}

    def counts(self, task: Any, rows: Sequence[LabelledRow], answers: Sequence[Any]) -> list[Counts]:
        if task.kind == "several":
            return _of_several(task.labels, rows, answers)
        if task.kind == "graded":
            return _of_grades(rows, answers)
        return _of_classes(task, rows, answers)

    def scores(self, task: Any, rows: Sequence[LabelledRow], answers: Sequence[Any]) -> Scores:
        if task.kind != "single":
            return Scores(each.score() for each in self.counts(task, rows, answers))
        scores = score_predictions([shown(row.label) for row in rows], [each.label for each in answers], task.labels)
        scores.update({each.name: each.score() for each in self.counts(task, rows, answers)[1:]} if rows else {})
        return scores

    def short(self, answer: Any) -> str:
        return answer.label if isinstance(answer, Prediction) else str(answer)

    def baselines(self, task: Any, rows: Sequence[LabelledRow]) -> Iterable[Any]:
        if task.kind == "several":
            yield constant(rows, task.kind)
            yield several_tfidf(rows, task.labels, task.settings.threshold)
            return
        if task.kind == "graded":
            yield constant(rows, task.kind)
            yield tfidf_regression(rows)
            if rows and len(rows[0].texts) > 1:
                yield similarity(rows)
            return
        texts, labels = [" ".join(row.texts) for row in rows], [shown(row.label) for row in rows]
        for fit in (majority, bag_of_words, tfidf):
            fitted = fit(texts, labels)
            self._top_words = fitted.top_words or self._top_words
            yield Counting(fitted)

    def show(self, task: Any, rows: Sequence[LabelledRow], answers: Sequence[Any], comparison: Comparison) -> None:
        pairs = list(zip(rows, answers, strict=True))
        if task.kind == "graded":
            pairs.sort(key=lambda pair: -abs(pair[1].value - grade_of(pair[0].label)))
            comparison.mistakes = [(" | ".join(row.texts), shown(row.label), str(each), float("nan")) for row, each in pairs[:12]]
            return
        if task.kind == "several":
            wrong = [(row, each) for row, each in pairs if set(each.labels) != set(names_of(row.label))]
            wrong.sort(key=lambda pair: -len(set(pair[1].labels) ^ set(names_of(pair[0].label))))
            comparison.mistakes = [(" | ".join(row.texts), shown(row.label), str(each), float("nan")) for row, each in wrong[:12]]
            return
        numbers = {label: number for number, label in enumerate(task.labels)}
        gold = [numbers.get(shown(row.label), -1) for row in rows]
        comparison.labels = task.labels
        comparison.table = confusion(gold, [numbers[each.label] for each in answers], len(numbers))
        comparison.top_words = self._top_words
        comparison.reliability = reliability([each.probability for each in answers], [each.label == row.label for row, each in pairs])
        wrong = [(row, each) for row, each in pairs if each.label != row.label]
        wrong.sort(key=lambda pair: -pair[1].probability)
        comparison.mistakes = [(" | ".join(row.texts), shown(row.label), each.label, each.probability) for row, each in wrong[:12]]

    def about(self, task: Any) -> str:
        if task.kind == "graded":
            return _("A model that gives texts a grade, fine-tuned with Diptych.")
        return _("A text classifier that was fine-tuned with Diptych: {labels}.").format(labels=", ".join(task.labels[:20]))

    def caveats(self, task: Any, train: Sequence[LabelledRow], comparison: Comparison | None) -> list[str]:
        caveats = []
        if comparison is not None and len(set(comparison.main.predicted)) == 1 and len(set(comparison.gold)) > 1:
            text = _("It predicts one class only ({label}): it has learnt nothing. Try a lower learning rate or more epochs.")
            caveats.append(text.format(label=comparison.main.predicted[0]))
        if task.kind != "single":
            return caveats
        counts = Counter(row.label for row in train)
        most, least = max(counts.values()), min(counts.values())
        if most > 10 * least:
            text = _("The classes are uneven ({most:,} to {least:,} rows): look at macro-F1, not at accuracy.")
            caveats.append(text.format(most=most, least=least))
        return caveats


def _of_classes(task: Any, rows: Sequence[LabelledRow], answers: Sequence[Prediction]) -> list[Counts]:
    """Accuracy; of two classes sensitivity and specificity at the threshold; and how good the probabilities are, where there are some.

    A text whose label was not learnt is always missed.
    """
    labels = task.labels
    gold, said = np.array([shown(row.label) for row in rows]), np.array([each.label for each in answers])
    found = [mean_of(mark("accuracy"), gold == said)]
    positive = None if len(labels) != 2 else task.settings.positive or labels[1]
    if positive is not None:
        found.append(share_of(mark("sensitivity"), said == positive, gold == positive))
        found.append(share_of(mark("specificity"), said != positive, gold != positive))
    if answers and all(len(each.probabilities) == len(labels) for each in answers):
        asked = labels if positive is None else (positive,)
        chances_NC = np.array([[each.probabilities[name] for name in asked] for each in answers])
        found.append(pr_area_of(mark("precision-recall area"), gold[:, None] == np.array(asked), chances_NC))
        found.append(calibration_error_of(mark("calibration error"), np.array([each.probability for each in answers]), gold == said))
    return found


def _of_several(labels: Sequence[str], rows: Sequence[LabelledRow], answers: Sequence[SeveralLabels]) -> list[Counts]:
    """Micro-F1, macro-F1 and the share of texts whose labels are all right; a label that was not learnt is always missed."""
    names = [*labels, *sorted({name for row in rows for name in names_of(row.label)} - set(labels))]
    gold_NC = np.array([[name in names_of(row.label) for name in names] for row in rows]).reshape(len(rows), len(names))
    found_NC = np.array([[name in each.labels for name in names] for each in answers]).reshape(len(rows), len(names))
    hits_NC = gold_NC & found_NC
    return [
        f1_of(mark("micro-F1"), hits_NC.sum(1), found_NC.sum(1), gold_NC.sum(1)),
        macro_f1_of(mark("macro-F1"), hits_NC, found_NC, gold_NC),
        mean_of(mark("all labels right"), (gold_NC == found_NC).all(1)),
    ]


def _of_grades(rows: Sequence[LabelledRow], answers: Sequence[Grade]) -> list[Counts]:
    gold_N = np.array([grade_of(row.label) for row in rows])
    found_N = np.array([each.value for each in answers])
    return [
        spearman_of(mark("Spearman"), gold_N, found_N),
        pearson_of(mark("Pearson"), gold_N, found_N),
        mean_of(mark("squared error"), np.square(gold_N - found_N)),
    ]
