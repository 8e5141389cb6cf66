"""Estimators with scikit-learn's contract: `fit` returns self, `__init__` only stores, what is learnt ends in `_`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from diptych.errors import UsageError


class TextClassifier:
    """A classifier of texts.

    Args:
        base: a model folder, an installed model ("minilm") or a preset for fresh weights.
        epochs, lr, seed: see the recipe.
        settings: further fields of the recipe's `train` part.

    Attributes:
        model_: the fine-tuned model. classes_: the labels. caveats_: what the training set cannot tell.
    """

    def __init__(
        self, base: str = "minilm", epochs: float = 3.0, lr: float | None = None, seed: int = 0, settings: dict[str, Any] | None = None
    ) -> None:
        self.base = base
        self.epochs = epochs
        self.lr = lr
        self.seed = seed
        self.settings = settings

    def fit(self, texts: Sequence[str], labels: Sequence[Any]) -> "TextClassifier":
        """Fine-tune on every text given; nothing is held out here, `score` is for other texts."""
        from diptych.finetuning import finetune_recipe
        from diptych.models.presets import list_presets
        from diptych.recipe import build
        from diptych.training.progress import Several

        if len(texts) != len(labels):
            raise UsageError("E611", texts=len(texts), labels=len(labels))
        start = "preset" if self.base in list_presets() else "base"
        train = {"epochs": float(self.epochs), "seed": self.seed, **(self.settings or {})}
        if self.lr is not None:
            train["lr"] = self.lr
        recipe = build({"model": {start: self.base}, "task": {"name": "classification", "duplicates": "keep"}, "train": train})
        done = finetune_recipe(recipe, list(zip(texts, labels, strict=True)), listener=Several([]), hold_out=False)
        self._names = {str(label): label for label in labels}
        self.model_ = done.model
        self.classes_ = np.array([self._names.get(name, name) for name in done.model.config.labels])
        self.caveats_ = done.caveats
        return self

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """The label of each text, of the type that `fit` was given."""
        return np.array([self._names.get(prediction.label, prediction.label) for prediction in self._model().predict(list(texts))])

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """[texts, classes], in the order of `classes_`."""
        return np.array([list(prediction.probabilities.values()) for prediction in self._model().predict(list(texts))])

    def score(self, texts: Sequence[str], labels: Sequence[Any]) -> float:
        """Accuracy."""
        return float(np.mean(self.predict(texts) == np.asarray(labels)))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("base", "epochs", "lr", "seed", "settings")}

    def set_params(self, **params: Any) -> "TextClassifier":
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"TextClassifier has no parameter {name!r}")
            setattr(self, name, value)
        return self

    def _model(self) -> Any:
        if not hasattr(self, "model_"):
            raise UsageError("E612")
        return self.model_
