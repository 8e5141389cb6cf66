"""`TextClassifier`: one label for each text, or pair of texts."""

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin

from diptych.errors import UsageError
from diptych.estimators.estimator import Estimator
from diptych.estimators.inputs import as_source
from diptych.model import Model
from diptych.tasks.labels import label_name
from diptych.tasks.tables import choose_columns
from diptych.text.tables import read_table

COLUMNS = ("text", "pair", "label")
"""Settings that name columns of a table."""


class TextClassifier(ClassifierMixin, Estimator):
    """A classifier of texts.

    Args:
        base: a model folder, an installed model ("minilm") or a preset for fresh weights.
        epochs, lr, seed: see the recipe.
        settings: further fields of the recipe, by their names; a budget in it takes the place of `epochs`.

    Attributes:
        classes_: the labels, of the type that `fit` was given. model_, caveats_, ledger_: see `Estimator`.
    """

    task_name = "classification"
    told = {"duplicates": "keep", "kind": "single"}
    inputs_named = ("text", "pair")

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from every text given; of a table the columns are guessed, or named in `settings` (text, pair, label).

        Raises:
            UsageError E611: X and y differ in length. E623: a text has several labels. What reading and training raise.
        """
        columns: list[str] = []
        if y is None:
            X, y, columns = self._columns_of(as_source(X))
        texts, labels = self._aligned(X, y)
        if any(isinstance(label, list | tuple | set | frozenset) for label in labels):
            raise UsageError("E623")
        self._names = {name: label for label in labels if (name := label_name(label)) is not None}
        super().fit(texts, labels)
        self._columns = columns
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The label of each text, of the type that `fit` was given."""
        answers = self._answers(X)
        return np.array([self._names[answer.label] for answer in answers], dtype=self.classes_.dtype)

    def predict_proba(self, X: Any) -> np.ndarray:
        """[texts, classes], in the order of `classes_`."""
        return np.array([list(answer.probabilities.values()) for answer in self._answers(X)]).reshape(-1, len(self.classes_))

    def score(self, X: Any, y: Any = None) -> float:
        """Accuracy."""
        if y is None:
            X, y, _columns = self._columns_of(as_source(X))
        texts, labels = self._aligned(X, y)
        return float(np.mean([label_name(a) == label_name(b) for a, b in zip(self.predict(texts), labels, strict=True)]))

    def _examples(self, X: list[Any], y: list[Any]) -> list[Any]:
        return [(*each, label) if isinstance(each, list | tuple) else (each, label) for each, label in zip(X, y, strict=True)]

    def _told(self) -> dict[str, Any]:
        # A table is read here, so that labels keep their types: what is handed on has no columns to be named.
        return {name: value for name, value in super()._told().items() if name not in COLUMNS}

    def _columns_of(self, table: Any) -> tuple[list[Any], list[Any], list[str]]:
        """The texts and the labels of a table, as they stand in it, and the columns of the texts."""
        rows = list(read_table(table))
        told = {name: (self.settings or {}).get(name) for name in COLUMNS}
        columns = choose_columns(rows, type(self).__name__, **told) if rows else None
        names = [] if columns is None else [name for name in (columns.text, columns.pair) if name]
        texts = [tuple("" if row.fields.get(name) is None else str(row.fields[name]) for name in names) for row in rows]
        labels = [] if columns is None else [row.fields.get(columns.label) for row in rows]
        return [each[0] if len(each) == 1 else each for each in texts], labels, names

    def _keep(self, model: Model, asked: dict[str, Any]) -> None:
        super()._keep(model, asked)
        self.classes_ = np.array([self._names[name] for name in model.config.labels])

    def _memory(self) -> dict[str, Any]:
        plain = {name: label.item() if isinstance(label, np.generic) else label for name, label in self._names.items()}
        return {**super()._memory(), "labels": plain, "type": self.classes_.dtype.str}

    def _recall(self, facts: Any, model: Model) -> None:
        self._names = dict(facts.get("labels") or {name: name for name in model.config.labels})
        super()._recall(facts, model)
        if "type" in facts:
            self.classes_ = self.classes_.astype(facts["type"])
