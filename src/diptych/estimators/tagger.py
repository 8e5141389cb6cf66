"""`Tagger`: the stretches of a text that have a label, or a tag for each token."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from diptych.estimators.estimator import Estimator, objects
from diptych.estimators.inputs import as_list
from diptych.tasks.spans import BARE_LABEL, OUTSIDE, is_tag
from diptych.tasks.tagged_texts import join_tokens
from diptych.tasks.tagging import Tagged


class Tagger(Estimator):
    """A tagger of texts, or of lists of tokens.

    Texts have stretches, (start, end, label) in characters, the end exclusive. Lists of tokens have tags, in any scheme (IOB1, BIO,
    BIOES, BMES) or a class for each; what comes back is BIO, or classes.

    Args:
        base: a model folder, an installed model or a preset; "bilstm-mini" is what there was before Transformers.
        epochs, lr, seed, settings: see `TextClassifier`.
    """

    task_name = "tagging"
    told = {"duplicates": "keep"}
    inputs_named = ("tokens",)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from texts and their stretches, from lists of tokens and their tags, or from a file of columns, a table, JSON.

        Raises:
            DataError E141: a tag of no scheme. E142: nothing is marked. E145, E146: stretches or tags that do not fit their text.
        """
        self._has_classes = y is not None and _are_classes(as_list(y, (), 1, are_texts=False))
        return super().fit(X, y)

    def predict(self, X: Any) -> np.ndarray:
        """For each text its stretches, as a list of (start, end, label); for each list of tokens its tags."""
        items = self._inputs(X)
        joined = [(item, None) if isinstance(item, str) else join_tokens([str(token) for token in item]) for item in items]
        answers = self._answers([text for text, _places in joined])
        return objects([self._shown(answer, places) for answer, (_text, places) in zip(answers, joined, strict=True)])

    def _examples(self, X: list[Any], y: list[Any]) -> list[Any]:
        return list(zip(X, y, strict=True))

    def _shown(self, answer: Tagged, places: Sequence[tuple[int, int]] | None) -> list[Any]:
        if places is None:
            return [span.key for span in answer.spans]
        tags, before = [], None
        for start, stop in places:
            span = next((each for each in answer.spans if each.start < stop and each.stop > start), None)
            if span is None:
                tags.append(OUTSIDE)
            elif self._has_classes:
                tags.append(span.label)
            else:
                place = "I" if span is before else "B"
                tags.append(place if span.label == BARE_LABEL else f"{place}-{span.label}")
            before = span
        return tags

    def _memory(self) -> dict[str, Any]:
        return {**super()._memory(), "has_classes": self._has_classes}

    def _recall(self, facts: Any, model: Any) -> None:
        self._has_classes = bool(facts.get("has_classes", False))
        super()._recall(facts, model)


def _are_classes(answers: Sequence[Any]) -> bool:
    """Whether each token has a class of its own, as a part of speech, and no tag of a scheme."""
    tags = [tag for each in answers if isinstance(each, list | tuple) for tag in each if isinstance(tag, str)]
    return any(not is_tag(tag) for tag in tags)
