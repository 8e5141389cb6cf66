"""Marked stretches: F1 over stretches that agree in place and label (as conlleval counts), beside a dictionary of those seen."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from diptych.evaluation.baselines.tagging import Dictionary
from diptych.evaluation.evaluate import Comparison
from diptych.evaluation.intervals import Counts, Scores, f1_of
from diptych.messages import _, mark
from diptych.tasks.tagged_texts import TaggedRow
from diptych.tasks.tagging import Tagged


class TaggingJudge:
    pipeline = "token-classification"

    def counts(self, task: Any, rows: Sequence[TaggedRow], answers: Sequence[Tagged]) -> list[Counts]:
        gold = [{span.key for span in row.spans} for row in rows]
        return set_counts(mark("span F1"), gold, [{span.key for span in answer.spans} for answer in answers])

    def scores(self, task: Any, rows: Sequence[TaggedRow], answers: Sequence[Tagged]) -> Scores:
        return Scores(each.score() for each in self.counts(task, rows, answers))

    def short(self, answer: Tagged) -> str:
        return ", ".join(f"{answer.text[span.start : span.stop]} = {span.label}" for span in answer.spans)

    def baselines(self, task: Any, rows: Sequence[TaggedRow]) -> Iterable[Dictionary]:
        yield Dictionary(rows)

    def show(self, task: Any, rows: Sequence[TaggedRow], answers: Sequence[Tagged], comparison: Comparison) -> None:
        wrong = []
        for row, answer in zip(rows, answers, strict=True):
            gold = {span.key for span in row.spans}
            wrong += [(row, answer, span) for span in answer.spans if span.key not in gold]
        wrong.sort(key=lambda each: -each[2].probability)
        for row, answer, span in wrong[:12]:
            said = f"{answer.text[span.start : span.stop]} = {span.label}"
            comparison.mistakes.append((row.texts[0], self.short(Tagged(row.texts[0], row.spans)), said, span.probability))

    def about(self, task: Any) -> str:
        labels = dict.fromkeys(tag[2:] for tag in task.tags if tag[2:])
        return _("A tagger that was fine-tuned with Diptych: it marks {labels}.").format(labels=", ".join([*labels][:20]))

    def caveats(self, task: Any, train: Sequence[TaggedRow], comparison: Comparison | None) -> list[str]:
        if comparison is not None and comparison.main.scores[comparison.watched].value == 0:
            return [_("Nothing that it marks is right: it has learnt nothing. Try a third of the learning rate, or more epochs.")]
        return []


def set_counts(name: str, gold: Sequence[set[Any]], found: Sequence[set[Any]]) -> list[Counts]:
    """F1 of what was found against what is right, example by example, with precision and recall."""
    hits = np.array([len(a & b) for a, b in zip(gold, found, strict=True)], dtype=float)
    num_gold, num_found = np.array([len(each) for each in gold]), np.array([len(each) for each in found])
    return [
        f1_of(name, hits, num_found, num_gold),
        Counts(mark("precision"), np.stack([hits, num_found], axis=1), _share),
        Counts(mark("recall"), np.stack([hits, num_gold], axis=1), _share),
    ]


def _share(sums: np.ndarray) -> np.ndarray:
    return np.divide(sums[..., 0], sums[..., 1], out=np.zeros(sums.shape[:-1]), where=sums[..., 1] > 0)
