"""The protocol of a judge, and the comparison that follows from it for any task."""

import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from diptych.evaluation.evaluate import Comparison, System
from diptych.evaluation.intervals import Counts, Scores


class Simple(Protocol):
    """A fitted baseline: what a task's model should beat."""

    name: str
    seconds: float
    size_bytes: int

    def answers(self, inputs: Sequence[Any]) -> list[Any]:
        """One answer for each input, of the kind that the task predicts."""
        ...


class Judge(Protocol):
    """What is good at a task, and what is simple."""

    pipeline: str
    """What Hugging Face calls the task, for the model card."""

    def counts(self, task: Any, rows: Sequence[Any], answers: Sequence[Any]) -> list[Counts]:
        """What each score is made of, the one that systems are compared by first."""
        ...

    def scores(self, task: Any, rows: Sequence[Any], answers: Sequence[Any]) -> Scores:
        """All scores with their intervals."""
        ...

    def short(self, answer: Any) -> str:
        """An answer in a few words."""
        ...

    def baselines(self, task: Any, rows: Sequence[Any]) -> Iterable[Simple]:
        """Simple systems that learn from the same rows."""
        ...

    def show(self, task: Any, rows: Sequence[Any], answers: Sequence[Any], comparison: Comparison) -> None:
        """Add what a reader wants to see: confusions, mistakes, samples."""
        ...

    def about(self, task: Any) -> str:
        """The model in one sentence, for its card."""
        ...

    def caveats(self, task: Any, train: Sequence[Any], comparison: Comparison | None) -> list[str]:
        """What the scores cannot tell."""
        ...


def run_judge(
    judge: Judge,
    task: Any,
    name: str,
    answers: Sequence[Any],
    milliseconds: float,
    train: Sequence[Any],
    test: Sequence[Any],
    *,
    seconds: float,
    size_bytes: int,
    with_baselines: bool = True,
) -> Comparison:
    """The system `name` with its `answers` to the test rows, beside the baselines that learn from the same rows."""
    counts = judge.counts(task, test, answers)
    main = System(
        name, judge.scores(task, test, answers), [judge.short(each) for each in answers], seconds, size_bytes, milliseconds, counts[0]
    )
    comparison = Comparison([main], [row.gold for row in test], watched=counts[0].name)
    for simple in judge.baselines(task, train) if with_baselines else ():
        start = time.perf_counter()
        found = simple.answers(task.inputs(test))
        each = 1000 * (time.perf_counter() - start) / max(1, len(test))
        scores, own = judge.scores(task, test, found), judge.counts(task, test, found)[0]
        said = [judge.short(answer) for answer in found]
        comparison.systems.append(System(simple.name, scores, said, simple.seconds, simple.size_bytes, each, own))
    judge.show(task, test, answers, comparison)
    return comparison
