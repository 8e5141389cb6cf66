"""Vectors of texts: how well their cosines order graded pairs, or how often a text's own partner is the nearest of all."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from diptych.evaluation.baselines.counting import features
from diptych.evaluation.correlation import spearman_of
from diptych.evaluation.evaluate import Comparison
from diptych.evaluation.intervals import Counts, Scores, mean_of
from diptych.messages import _, mark
from diptych.tasks.embedding import Compared
from diptych.tasks.pair_tables import PairRow

AT_ONCE = 512
"""Texts that are compared with all others in one product."""


class Words:
    """Vectors that count words and pairs of them; with TF-IDF rare ones count more."""

    def __init__(self, name: str, vectorizer: Any, rows: Sequence[PairRow]) -> None:
        start = time.perf_counter()
        self.name, self._vectorizer = name, vectorizer
        texts = [text for row in rows for text in row.texts]
        try:
            self._vectorizer.fit(texts)
        except ValueError:  # no text holds a single word
            self._vectorizer.fit([f"{text} {name}" for text in texts])
        self.seconds = time.perf_counter() - start
        self.size_bytes = sum(len(word.encode()) + 8 for word in self._vectorizer.get_feature_names_out())

    def answers(self, inputs: Sequence[tuple[str, ...]]) -> list[Compared]:
        if not inputs:
            return []
        from sklearn.preprocessing import normalize

        first: Any
        second: Any
        first, second = (normalize(self._vectorizer.transform([pair[side] for pair in inputs])) for side in (0, 1))
        cosines = np.asarray(first.multiply(second).sum(1)).ravel()
        return [Compared(float(cosine), (first[row], second[row])) for row, cosine in enumerate(cosines)]


class EmbeddingJudge:
    pipeline = "sentence-similarity"

    def counts(self, task: Any, rows: Sequence[PairRow], answers: Sequence[Compared]) -> list[Counts]:
        graded = [(row.gold, answer.similarity) for row, answer in zip(rows, answers, strict=True) if row.gold is not None]
        if graded:
            gold, found = np.array(graded).T
            return [spearman_of(mark("Spearman"), gold, found)]
        ranks = _ranks_of_partners(rows, answers)
        return [mean_of(mark("found first"), ranks == 1), mean_of(mark("mean reciprocal rank"), 1 / ranks)]

    def scores(self, task: Any, rows: Sequence[PairRow], answers: Sequence[Compared]) -> Scores:
        return Scores(each.score() for each in self.counts(task, rows, answers))

    def short(self, answer: Compared) -> str:
        return f"{answer.similarity:.3f}"

    def baselines(self, task: Any, rows: Sequence[PairRow]) -> Iterable[Words]:
        from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

        counting: dict[str, Any] = {"analyzer": features}
        yield Words(mark("bag of words"), CountVectorizer(**counting), rows)
        yield Words(mark("TF-IDF"), TfidfVectorizer(sublinear_tf=True, **counting), rows)

    def show(self, task: Any, rows: Sequence[PairRow], answers: Sequence[Compared], comparison: Comparison) -> None:
        """The pairs whose cosine stands furthest from where their grade does."""
        if not rows or any(row.gold is None for row in rows):
            return
        gold = np.argsort(np.argsort([row.gold or 0.0 for row in rows]))
        found = np.argsort(np.argsort([answer.similarity for answer in answers]))
        for number in np.argsort(-np.abs(gold - found))[:12].tolist():
            row, said = rows[number], answers[number].similarity
            comparison.mistakes.append((" | ".join(row.texts[:2]), f"{row.gold:g}", f"{said:.3f}", said))

    def about(self, task: Any) -> str:
        return _("A model that was fine-tuned with Diptych to put texts of like meaning near each other.")

    def caveats(self, task: Any, train: Sequence[PairRow], comparison: Comparison | None) -> list[str]:
        return []


def _ranks_of_partners(rows: Sequence[PairRow], answers: Sequence[Compared]) -> np.ndarray:
    """Where each text's partner stands among all second texts, 1 for the nearest; other texts that are as right do not count."""
    if not rows:
        return np.empty(0)
    first_ND, second_ND = (_stacked([answer.vectors[side] for answer in answers]) for side in (0, 1))
    one, other = (np.unique([row.texts[side] for row in rows], return_inverse=True)[1] for side in (0, 1))
    ranks = np.empty(len(rows))
    for start in range(0, len(rows), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        product = first_ND[part] @ second_ND.T
        cosines = np.asarray(product.todense()) if hasattr(product, "todense") else product
        at = np.arange(len(cosines))
        own = cosines[at, start + at]
        is_same = (one[part][:, None] == one[None]) | (other[part][:, None] == other[None])
        cosines = np.where(is_same, -np.inf, cosines)
        # A tie is as good as the mean of its places: a model that finds all alike gains nothing by it.
        ranks[part] = 1 + (cosines > own[:, None]).sum(1) + (cosines == own[:, None]).sum(1) / 2
    return ranks


def _stacked(vectors: Sequence[Any]) -> Any:
    """Vectors of length 1 as the rows of a matrix, which is sparse if they are."""
    if hasattr(vectors[0], "todense"):
        from scipy.sparse import vstack

        return vstack(vectors).tocsr()
    matrix = np.stack(vectors)
    return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
