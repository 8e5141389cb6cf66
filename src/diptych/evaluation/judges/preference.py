"""Preferences: how often the answer that people prefer is the model's too, beside the model before it learnt and the longer answer."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from diptych.evaluation.evaluate import Comparison
from diptych.evaluation.intervals import Counts, Scores, mean_of
from diptych.evaluation.judges.judge import Simple
from diptych.messages import _, mark
from diptych.tasks.preference import Preferred
from diptych.tasks.preference_texts import PreferenceRow


class Length:
    """Prefers the longer answer, or the shorter one where that was preferred more often."""

    name = mark("the longer answer")
    size_bytes = 1

    def __init__(self, rows: Sequence[PreferenceRow]) -> None:
        start = time.perf_counter()
        self._sign = 1.0 if sum(np.sign(len(row.chosen) - len(row.rejected)) for row in rows) >= 0 else -1.0
        self.name = mark("the longer answer") if self._sign > 0 else mark("the shorter answer")
        self.seconds = time.perf_counter() - start

    def answers(self, inputs: Sequence[PreferenceRow]) -> list[Preferred]:
        return [Preferred(self._sign * (len(row.chosen) - len(row.rejected))) for row in inputs]


class Before:
    """The model before it learnt: it prefers the answer whose tokens are likelier."""

    name = mark("before training")
    seconds = 0.0
    size_bytes = 0

    def __init__(self, task: Any) -> None:
        self._task = task

    def answers(self, inputs: Sequence[PreferenceRow]) -> list[Preferred]:
        return [Preferred(0.0 if margin is None else margin, margin) for margin in self._task.likelier_before(inputs)]


class PreferenceJudge:
    pipeline = "text-generation"

    def counts(self, task: Any, rows: Sequence[PreferenceRow], answers: Sequence[Preferred]) -> list[Counts]:
        right = np.array([(each.margin > 0) + 0.5 * (each.margin == 0) for each in answers], dtype=float)
        found = [mean_of(mark("preference accuracy"), right)]
        if any(each.is_growth for each in answers):
            by_token = np.array([(each.by_token or 0) > 0 for each in answers], dtype=float)
            found.append(mean_of(mark("likelier by token"), by_token))
        return found

    def scores(self, task: Any, rows: Sequence[PreferenceRow], answers: Sequence[Preferred]) -> Scores:
        return Scores(each.score() for each in self.counts(task, rows, answers))

    def short(self, answer: Preferred) -> str:
        return str(answer)

    def baselines(self, task: Any, rows: Sequence[PreferenceRow]) -> Iterable[Simple]:
        yield Length(rows)
        if task.has_before:
            yield Before(task)

    def show(self, task: Any, rows: Sequence[PreferenceRow], answers: Sequence[Preferred], comparison: Comparison) -> None:
        wrong = [(row, each) for row, each in zip(rows, answers, strict=True) if each.margin < 0]
        wrong.sort(key=lambda pair: pair[1].margin)
        for row, _each in wrong[:12]:
            comparison.mistakes.append((" | ".join(row.texts), row.chosen, row.rejected, float("nan")))

    def about(self, task: Any) -> str:
        return _("A model that was taught with Diptych which answers people prefer.")

    def caveats(self, task: Any, train: Sequence[PreferenceRow], comparison: Comparison | None) -> list[str]:
        return [_("It was taught to tell answers apart, not to be right: read what it writes, and see that it did not just grow longer.")]
