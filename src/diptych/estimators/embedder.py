"""`Embedder`: a vector for each text, for whatever scikit-learn does with vectors."""

from typing import Any, Self

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from diptych.errors import UsageError
from diptych.estimators.estimator import Estimator
from diptych.estimators.inputs import as_source
from diptych.ledger import Ledger
from diptych.presets import list_presets
from diptych.running import load_model
from diptych.text.tables import read_table


class Embedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):
    """A transformer from texts to vectors.

    Fitted on texts it takes the base's vectors as they are, and `y` is not looked at: `make_pipeline(Embedder(), LogisticRegression())`
    learns from few labels. Fitted on a table of pairs, (text, text), (text, text, grade) or (text, text, one that does not belong), it
    is taught first which texts belong together.

    Args:
        base: a model folder or an installed model; a preset only where there are pairs to learn from.
        epochs, lr, seed, settings: see `TextClassifier`; they matter where there are pairs.
    """

    task_name = "embedding"
    inputs_named = ("text",)

    def fit(self, X: Any, y: Any = None) -> Self:
        """
        Raises:
            UsageError E625: fresh weights, and texts alone, of which nothing can be learnt.
        """
        source = as_source(X)
        if _are_pairs(source):
            super().fit(source)
        elif str(self.base) in list_presets():
            raise UsageError("E625", base=self.base)
        else:
            self._columns = []
            self._keep(load_model(self.base), {})
            self.caveats_, self.ledger_ = [], Ledger()
        self._n_features_out = self.model_.embed(["a"]).shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """[texts, features] float32. Texts longer than the model reads are cut; `model_.embed(texts, ledger)` counts them."""
        texts = [str(text) for text in self._inputs(X)]
        if not texts:
            return np.empty((0, self._n_features_out), dtype=np.float32)
        return self.model_.embed(texts).cpu().numpy()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        assert tags.transformer_tags is not None
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _examples(self, X: list[Any], y: list[Any]) -> list[Any]:
        return [(*each, grade) if isinstance(each, list | tuple) else (each, grade) for each, grade in zip(X, y, strict=True)]

    def _recall(self, facts: Any, model: Any) -> None:
        super()._recall(facts, model)
        self._n_features_out = model.embed(["a"]).shape[1]


def _are_pairs(source: Any) -> bool:
    """Whether a table says which texts belong together: rows of more than one column, or a file of such."""
    return isinstance(source, str) or any(len(row.fields) > 1 for row in read_table(source[:1]))
