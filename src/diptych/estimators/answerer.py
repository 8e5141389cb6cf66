"""`QuestionAnswerer`: the stretch of a text that answers a question."""

from typing import Any

import numpy as np

from diptych.errors import UsageError
from diptych.estimators.estimator import Estimator, objects


class QuestionAnswerer(Estimator):
    """Finds the answer to a question in a text.

    `X` is a list of (question, text); `y` has the answer to each, as it stands in the text: a string, a list of right ones, or None
    where the text does not answer.

    Args:
        base: a model folder, an installed model, or a preset that sees the whole text ("modernbert-mini").
        epochs, lr, seed, settings: see `TextClassifier`.
    """

    task_name = "answering"
    told = {"duplicates": "keep"}
    inputs_named = ("question", "context")

    def predict(self, X: Any) -> np.ndarray:
        """The answer to each question, "" where there is none."""
        return objects([answer.text for answer in self._answers(X)])

    def _inputs(self, X: Any) -> list[Any]:
        return [_pair(item) for item in super()._inputs(X)]

    def _examples(self, X: list[Any], y: list[Any]) -> list[Any]:
        rows = []
        for item, answer in zip(X, y, strict=True):
            question, context = _pair(item)
            found = [] if answer is None or answer != answer else [answer] if isinstance(answer, str) else list(answer)
            rows.append({"question": question, "context": context, "answers": found})
        return rows


def _pair(item: Any) -> tuple[str, str]:
    """
    Raises:
        UsageError E624: an input is no question with its text.
    """
    if not isinstance(item, list | tuple) or len(item) != 2:
        raise UsageError("E624", item=repr(item)[:60])
    return str(item[0]), str(item[1])
