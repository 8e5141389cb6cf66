"""What a simple model thinks of the same words: TF-IDF and logistic regression, which can be read off.

The weight of a unit is what the simple model's log-odds of the answer lose without it. Where the two disagree, the large model has learnt
something that words alone do not say, or something that it should not have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.errors import UsageError
from diptych.evaluation.baselines import Baseline, tfidf
from diptych.explain.question import Question
from diptych.explain.reading import Unit
from diptych.ledger import Ledger
from diptych.tasks.labels import shown

NOTABLE = 0.05
"""The share of all weights from which on a unit's weight is worth a word."""


@dataclass(frozen=True)
class SimpleView:
    """What the simple model answers, how sure it is of the answer that is explained, and the weight of each unit for it."""

    answer: str
    probability: float
    values: np.ndarray


def simple_of(task: Any, data: Any) -> Baseline:
    """The simple model of labelled rows, read as the task reads them.

    Raises:
        UsageError E814: the task does not choose one label for a text.
    """
    if task is None or task.name != "classification" or task.kind != "single":
        raise UsageError("E814")
    rows, _columns = task.read(data, Ledger())
    return tfidf([" ".join(row.texts) for row in rows], [shown(row.label) for row in rows])


def simple_view(baseline: Baseline, question: Question, units: Sequence[Unit]) -> SimpleView | None:
    """What it says of the question's text; None where it knows nothing of such an answer."""
    if baseline.chances is None or question.head != "classes" or question.answer not in baseline.labels:
        return None
    if question.against is not None and question.against not in baseline.labels:
        return None
    texts = question.reading.texts
    variants = [texts, *(_without(texts, unit) for unit in units)]
    logs_MC = np.log(np.clip(baseline.chances([" ".join(parts) for parts in variants]), 1e-12, 1.0))
    chosen = baseline.labels.index(question.answer)
    if question.against is not None:
        odds_M = logs_MC[:, chosen] - logs_MC[:, baseline.labels.index(question.against)]
    else:
        odds_M = logs_MC[:, chosen] - np.log(-np.expm1(np.minimum(logs_MC[:, chosen], -1e-12)))
    return SimpleView(baseline.labels[int(logs_MC[0].argmax())], float(np.exp(logs_MC[0, chosen])), odds_M[0] - odds_M[1:])


def disagreements(first: np.ndarray, second: np.ndarray) -> list[int]:
    """The units to which both give weight, one for the answer and one against it; the weightiest first."""
    shares = [np.abs(values) / max(float(np.abs(values).sum()), 1e-12) for values in (first, second)]
    both = np.minimum(*shares)
    return [int(number) for number in np.argsort(-both, kind="stable") if first[number] * second[number] < 0 and both[number] >= NOTABLE]


def _without(texts: Sequence[str], unit: Unit) -> tuple[str, ...]:
    # A blank, so that the words on either side do not become one.
    return tuple(text[: unit.start] + " " + text[unit.stop :] if part == unit.part else text for part, text in enumerate(texts))
