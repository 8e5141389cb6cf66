"""BM25 against its formula, written out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.evaluation.baselines.bm25 import BM25
from diptych.text.words import word_list

TEXT = st.lists(st.sampled_from(["cat", "dog", "花", "the", "🙂"]), max_size=8).map(" ".join)


@given(st.lists(TEXT, min_size=1, max_size=8), TEXT)
def test_scores_are_the_formula(texts: list[str], question: str) -> None:
    words = [word_list(text) for text in texts]
    mean = sum(map(len, words)) / len(words)
    expected = []
    for text in words:
        score = 0.0
        for word in word_list(question):
            df = sum(word in other for other in words)
            if df and (tf := text.count(word)):
                score += math.log(1 + (len(words) - df + 0.5) / (df + 0.5)) * tf / (tf + 1.2 * (1 - 0.75 + 0.75 * len(text) / mean))
        expected.append(score)
    assert BM25(texts).scores(question).tolist() == pytest.approx(expected)


def test_no_texts_have_no_scores() -> None:
    assert BM25([]).scores("a").tolist() == []
