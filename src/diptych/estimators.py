"""Estimators with scikit-learn's contract: `fit` returns self, `__init__` only stores, what is learnt ends in `_`."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from diptych.config import BUDGETS
from diptych.errors import UsageError


class TextClassifier:
    """A classifier of texts.

    Args:
        base: a model folder, an installed model ("minilm") or a preset for fresh weights.
        epochs, lr, seed: see the recipe.
        settings: further fields of the recipe's `train` part; a budget in it takes the place of `epochs`.

    Attributes:
        model_: the fine-tuned model. classes_: the labels. caveats_: what the training set cannot tell.
    """

    _estimator_type = "classifier"

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
        from diptych.running import pass_on_interrupt
        from diptych.tasks.labels import label_name
        from diptych.training.progress import Several

        texts, labels = _as_list(texts), list(labels)
        if len(texts) != len(labels):
            raise UsageError("E611", texts=len(texts), labels=len(labels))
        base = str(self.base)
        start = "preset" if base in list_presets() else "base"
        train = {"seed": self.seed, **(self.settings or {})}
        if not any(name in train for name in BUDGETS):
            train["epochs"] = float(self.epochs)
        if self.lr is not None:
            train["lr"] = self.lr
        recipe = build({"model": {start: base}, "task": {"name": "classification", "duplicates": "keep"}, "train": train})
        done = finetune_recipe(recipe, list(zip(texts, labels, strict=True)), listener=Several([]), hold_out=False)
        pass_on_interrupt(done.outcome, recipe, "finetune")
        self._names = {label_name(label): label for label in labels}
        self.model_ = done.model
        self.classes_ = np.array([self._names[name] for name in done.model.config.labels])
        self.caveats_ = done.caveats
        return self

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """The label of each text, of the type that `fit` was given."""
        model = self._model()
        return np.array([self._names[prediction.label] for prediction in model.predict(_as_list(texts))], dtype=self.classes_.dtype)

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """[texts, classes], in the order of `classes_`."""
        predictions = self._model().predict(_as_list(texts))
        return np.array([list(each.probabilities.values()) for each in predictions]).reshape(-1, len(self.classes_))

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

    def __repr__(self) -> str:
        return f"TextClassifier({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks of an estimator before it splits: a classifier, of texts, that needs labels."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(string=True, two_d_array=False),
        )

    def _model(self) -> Any:
        if not hasattr(self, "model_"):
            raise UsageError("E612")
        return self.model_


def _as_list(texts: str | Iterable[str]) -> list[str]:
    """Texts as a list; a single one is one text, not its letters."""
    return [texts] if isinstance(texts, str) else list(texts)
