"""Simple systems for several labels at once and for grades: what always holds, TF-IDF, and how much two texts share."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.evaluation.baselines.counting import counting
from diptych.messages import mark
from diptych.tasks.answers import Grade, SeveralLabels
from diptych.tasks.labels import Kind, grade_of, names_of
from diptych.tasks.tables import LabelledRow

Input = str | tuple[str, ...]


@dataclass
class SimpleLabels:
    """A fitted baseline, asked as the task is asked."""

    name: str
    answer: Callable[[list[Input]], list[Any]]
    seconds: float
    size_bytes: int

    def answers(self, inputs: Sequence[Input]) -> list[Any]:
        return self.answer(list(inputs)) if len(inputs) else []


def constant(rows: Sequence[LabelledRow], kind: Kind) -> SimpleLabels:
    """The labels that most texts have, or the most frequent one where none is; of grades their mean."""
    if kind == "graded":
        mean = float(np.mean([grade_of(row.label) for row in rows]))
        return SimpleLabels(mark("mean grade"), lambda inputs: [Grade(mean)] * len(inputs), 0.0, 8)
    counts = Counter(name for row in rows for name in names_of(row.label))
    usual = [name for name, count in counts.items() if 2 * count >= len(rows)] or [name for name, _count in counts.most_common(1)]
    said = SeveralLabels(tuple(sorted(usual)))
    return SimpleLabels(mark("majority"), lambda inputs: [said] * len(inputs), 0.0, sum(len(name.encode()) for name in usual))


def several_tfidf(rows: Sequence[LabelledRow], labels: Sequence[str], threshold: float) -> SimpleLabels:
    """TF-IDF with a logistic regression for each label."""
    from sklearn.linear_model import LogisticRegression

    start = time.perf_counter()
    vectorizer, counts = _vectors(rows)
    fitted: list[tuple[str, Any]] = []
    for name in labels:
        has = np.array([name in names_of(row.label) for row in rows])
        fitted.append((name, LogisticRegression(C=10.0, max_iter=300).fit(counts, has) if 0 < has.sum() < len(has) else float(has.mean())))

    def answer(inputs: list[Input]) -> list[SeveralLabels]:
        seen = vectorizer.transform([_joined(each) for each in inputs])
        chances = [np.full(len(inputs), model) if isinstance(model, float) else model.predict_proba(seen)[:, 1] for _name, model in fitted]
        table = np.stack(chances, axis=1)
        return [
            SeveralLabels(
                tuple(name for name, chance in zip(labels, row, strict=True) if chance >= threshold), dict(zip(labels, row.tolist()))
            )
            for row in table
        ]

    size = len(vectorizer.vocabulary_) * 8 * (len(labels) + 1)
    return SimpleLabels(mark("TF-IDF"), answer, time.perf_counter() - start, size)


def tfidf_regression(rows: Sequence[LabelledRow]) -> SimpleLabels:
    """TF-IDF with ridge regression."""
    from sklearn.linear_model import RidgeCV

    start = time.perf_counter()
    vectorizer, counts = _vectors(rows)
    model = RidgeCV(alphas=(0.3, 1.0, 3.0, 10.0)).fit(counts, [grade_of(row.label) for row in rows])

    def answer(inputs: list[Input]) -> list[Grade]:
        return [Grade(float(value)) for value in model.predict(vectorizer.transform([_joined(each) for each in inputs]))]

    return SimpleLabels(mark("TF-IDF"), answer, time.perf_counter() - start, 16 * len(vectorizer.vocabulary_))


def similarity(rows: Sequence[LabelledRow]) -> SimpleLabels:
    """The cosine of the TF-IDF vectors of a pair, on the scale of the grades by linear regression."""
    from sklearn.linear_model import LinearRegression

    start = time.perf_counter()
    vectorizer, _counts = _vectors(rows)

    def cosine(inputs: list[Input]) -> np.ndarray:
        sides = [vectorizer.transform([each[part] for each in inputs]) for part in (0, 1)]
        return np.asarray(sides[0].multiply(sides[1]).sum(axis=1)).reshape(-1, 1)

    model = LinearRegression().fit(cosine([row.texts for row in rows]), [grade_of(row.label) for row in rows])

    def answer(inputs: list[Input]) -> list[Grade]:
        return [Grade(float(value)) for value in model.predict(cosine(inputs))]

    return SimpleLabels(mark("shared words"), answer, time.perf_counter() - start, 8 * len(vectorizer.vocabulary_))


def _vectors(rows: Sequence[LabelledRow]) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [_joined(row.texts) for row in rows]
    vectorizer = TfidfVectorizer(sublinear_tf=True, **counting(texts))
    return vectorizer, vectorizer.fit_transform(texts)


def _joined(given: Input) -> str:
    return given if isinstance(given, str) else " ".join(given)
