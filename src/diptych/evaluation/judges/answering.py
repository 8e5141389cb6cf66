"""Answers from a text: exact match and F1 as SQuAD has them, or CMRC where the right answers are Chinese, beside word overlap."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from diptych.evaluation.answers import exact_match, overlap_f1
from diptych.evaluation.baselines.overlap import WordOverlap
from diptych.evaluation.evaluate import Comparison
from diptych.evaluation.intervals import Counts, Scores, mean_of
from diptych.messages import _, mark
from diptych.tasks.answering import MAYBE, Answer
from diptych.tasks.questions import QuestionRow
from diptych.text.words import language_of


class AnsweringJudge:
    pipeline = "question-answering"

    def counts(self, task: Any, rows: Sequence[QuestionRow], answers: Sequence[Answer]) -> list[Counts]:
        known = [(row, answer.text) for row, answer in zip(rows, answers, strict=True) if row.gold is not None]
        overlap = np.array([overlap_f1(text, row.gold or (), is_chinese=_is_chinese(row)) for row, text in known], dtype=float)
        exact = np.array([_is_right(row, text) for row, text in known], dtype=float)
        found = [mean_of("F1", overlap), mean_of(mark("exact match"), exact)]
        has_answer = np.array([bool(row.gold) for row, _text in known], dtype=bool)
        if has_answer.any() and not has_answer.all():
            # One number would hide a model that always, or never, says that there is no answer.
            found.append(mean_of(mark("exact match, with an answer"), exact[has_answer]))
            found.append(mean_of(mark("exact match, without one"), exact[~has_answer]))
        return found

    def scores(self, task: Any, rows: Sequence[QuestionRow], answers: Sequence[Answer]) -> Scores:
        return Scores(each.score() for each in self.counts(task, rows, answers))

    def short(self, answer: Answer) -> str:
        return answer.text

    def baselines(self, task: Any, rows: Sequence[QuestionRow]) -> Iterable[WordOverlap]:
        yield WordOverlap(rows)

    def show(self, task: Any, rows: Sequence[QuestionRow], answers: Sequence[Answer], comparison: Comparison) -> None:
        wrong = [(row, each) for row, each in zip(rows, answers, strict=True) if row.gold is not None and not _is_right(row, each.text)]
        wrong.sort(key=lambda pair: -pair[1].probability)
        for row, each in wrong[:12]:
            comparison.mistakes.append((row.texts[0], " | ".join(row.gold or ()) or "–", each.text or "–", each.probability))

    def about(self, task: Any) -> str:
        if tuple(task.labels) == MAYBE:
            return _("It finds the answer to a question in a text, or says that there is none; fine-tuned with Diptych.")
        return _("It finds the answer to a question in a text, and always gives one; fine-tuned with Diptych.")

    def caveats(self, task: Any, train: Sequence[QuestionRow], comparison: Comparison | None) -> list[str]:
        if comparison is not None and not any(comparison.main.predicted) and any(comparison.gold):
            return [_("It answers nothing at all: it has learnt nothing. Try a higher learning rate or more epochs.")]
        return []


def _is_right(row: QuestionRow, text: str) -> bool:
    return exact_match(text, row.gold or (), is_chinese=_is_chinese(row))


def _is_chinese(row: QuestionRow) -> bool:
    """Whether answers are compared by characters: as its text is written, since an answer may be a number alone."""
    return language_of(row.texts[1][:2000]) in ("zh", "mixed")
