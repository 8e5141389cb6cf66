"""Classifiers that count: the majority, bag-of-words and TF-IDF with logistic regression (scikit-learn).

English is counted by words and pairs of words, Chinese by segmented words and by one and two characters.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from diptych.messages import mark
from diptych.text.words import is_wide, word_list

STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
"""The inverse regularizations that cross-validation chooses from."""


@dataclass
class Baseline:
    """A fitted counting classifier."""

    name: str
    labels: tuple[str, ...]
    predict: Callable[[Sequence[str]], list[str]]
    seconds: float
    size_bytes: int
    top_words: dict[str, list[tuple[str, float]]]
    """For each label the words that speak for it most, with their weights."""
    chances: Callable[[Sequence[str]], np.ndarray] | None = None
    """How probable each of `labels` is, [texts, labels], where the classifier knows."""


def majority(texts: Sequence[str], labels: Sequence[str]) -> Baseline:
    """Always the most frequent label."""
    best = Counter(labels).most_common(1)[0][0]
    return Baseline(mark("majority"), tuple(sorted(set(labels))), lambda new: [best] * len(new), 0.0, len(best.encode()), {})


def bag_of_words(texts: Sequence[str], labels: Sequence[str], seed: int = 0) -> Baseline:
    """Word counts and logistic regression."""
    from sklearn.feature_extraction.text import CountVectorizer

    return _fit(mark("bag of words"), CountVectorizer(**counting(texts)), texts, labels, seed)


def tfidf(texts: Sequence[str], labels: Sequence[str], seed: int = 0) -> Baseline:
    """TF-IDF (Spärck Jones 1972) with sublinear counts, and logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return _fit(mark("TF-IDF"), TfidfVectorizer(sublinear_tf=True, **counting(texts)), texts, labels, seed)


def counting(texts: Sequence[str]) -> dict[str, Any]:
    """What both vectorizers are told; a word of one text only says little, unless there are few texts."""
    return {"analyzer": features, "min_df": 2 if len(texts) > 50 else 1, "dtype": np.float32}


def features(text: str) -> list[str]:
    """What is counted of a text: words and pairs of them; of Chinese also single characters and pairs of them."""
    words = word_list(text)
    counted = words + [f"{first} {second}" for first, second in pairwise(words)]
    wide = [character if is_wide(character) else " " for character in text]
    if any(character != " " for character in wide):
        pairs = (first + second for first, second in pairwise(wide) if first != " " and second != " ")
        counted += [character for character in wide if character != " "]
        counted += [pair for pair in pairs if pair not in words]
    return counted


def _fit(name: str, vectorizer: Any, texts: Sequence[str], labels: Sequence[str], seed: int) -> Baseline:
    from sklearn.linear_model import LogisticRegression

    start = time.perf_counter()
    try:
        counts = vectorizer.fit_transform(texts)
    except ValueError:  # no text holds a single word
        return Baseline(name, tuple(sorted(set(labels))), majority(texts, labels).predict, 0.0, 0, {})
    model = LogisticRegression(C=strength(counts, labels, seed), max_iter=300)
    model.fit(counts, list(labels))
    names = vectorizer.get_feature_names_out()

    def predict(new: Sequence[str]) -> list[str]:
        return [str(label) for label in model.predict(vectorizer.transform(list(new)))] if len(new) else []

    def chances(new: Sequence[str]) -> np.ndarray:
        return model.predict_proba(vectorizer.transform(list(new))) if len(new) else np.zeros((0, len(model.classes_)))

    size = sum(len(word.encode()) + 8 * len(model.classes_) for word in names)
    labels = tuple(map(str, model.classes_))
    return Baseline(name, labels, predict, time.perf_counter() - start, size, _top(model, names), chances)


def strength(counts: Any, labels: Sequence[str], seed: int, among: Sequence[float] = STRENGTHS) -> float:
    """The inverse regularization `among` some that does best in cross-validation on at most 5,000 of the training texts.

    Args:
        counts: what is known of each text, [texts, features], dense or sparse.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    fewest = min(Counter(labels).values())
    if fewest < 3:
        return 1.0
    rows = np.random.default_rng(seed).permutation(len(labels))[:5000]
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    gold = np.asarray(labels)[rows]
    if min(Counter(gold.tolist()).values()) < 3:
        return 1.0
    scores = [cross_val_score(LogisticRegression(C=c, max_iter=200), counts[rows], gold, cv=folds).mean() for c in among]
    return among[int(np.argmax(scores))]


def _top(model: Any, names: np.ndarray, k: int = 12) -> dict[str, list[tuple[str, float]]]:
    weights = model.coef_ if len(model.coef_) > 1 else np.vstack([-model.coef_[0], model.coef_[0]])
    return {
        str(label): [(str(names[i]), float(row[i])) for i in np.argsort(-row)[:k] if row[i] > 0]
        for label, row in zip(model.classes_, weights, strict=True)
    }
