"""BM25 (Robertson and Zaragoza 2009, eq. 3.15): which texts share rare words with a question, the simple way to search.

score(q, d) = Σ_w idf(w) · tf / (tf + k1 (1 - b + b |d| / mean |d|)),  idf(w) = ln(1 + (N - df + ½) / (df + ½))
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from diptych.text.words import word_list

K1, B = 1.2, 0.75
"""How soon more of a word says no more, and how much a long text is held to have it by chance."""


class BM25:
    """Texts, ready to be asked."""

    def __init__(self, texts: Sequence[str]) -> None:
        found: dict[str, list[tuple[int, int]]] = defaultdict(list)
        lengths = np.zeros(len(texts))
        for number, text in enumerate(texts):
            words = word_list(text)
            lengths[number] = len(words)
            for word, count in Counter(words).items():
                found[word].append((number, count))
        self._lengths = K1 * (1 - B + B * lengths / max(float(lengths.mean()) if len(texts) else 0.0, 1e-9))
        self._found = {word: np.array(places).T for word, places in found.items()}

    def scores(self, question: str) -> np.ndarray:
        """How well each text fits the question; a word that is asked twice counts twice."""
        total = np.zeros(len(self._lengths))
        for word, times in Counter(word_list(question)).items():
            if word in self._found:
                texts, counts = self._found[word]
                idf = math.log(1 + (len(total) - len(texts) + 0.5) / (len(texts) + 0.5))
                total[texts] += times * idf * counts / (counts + self._lengths[texts])
        return total
