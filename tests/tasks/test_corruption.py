"""Spans as the papers draw them, nothing lost: what is read and what is written together are the text."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from diptych.streams import stream
from diptych.tasks.corruption import corrupt_spans, infill, shuffle_sentences

SENTINELS = list(range(9000, 9100))
MASK = 8999


def restore(source, target):
    """The text, by a reader who knows nothing but the two."""
    spans, current = {}, None
    for token in target.tolist():
        if token >= SENTINELS[0]:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    return [token for each in source.tolist() for token in (spans[each] if each >= SENTINELS[0] else [each])]


@given(size=st.integers(1, 300), rate=st.floats(0.05, 0.8), length=st.floats(1, 8), seed=st.integers(0, 99), marks=st.integers(1, 100))
def test_what_is_read_and_what_is_written_are_the_text_together(size, rate, length, seed, marks):
    text = np.arange(10, 10 + size)
    source, target = corrupt_spans(text, SENTINELS[:marks], rate, length, stream(seed, "noise"))
    assert restore(source, target) == text.tolist()
    assert len(source) <= size + (size == 1) and Counter(source.tolist())[SENTINELS[0]] == 1
    used = [token for token in source.tolist() if token >= SENTINELS[0]]
    assert used == SENTINELS[: len(used)] == [token for token in target.tolist() if token >= SENTINELS[0]]
    for one, other in itertools.pairwise(source.tolist()):
        assert one < SENTINELS[0] or other < SENTINELS[0]  # two spans never touch


@pytest.mark.parametrize(("rate", "length", "spans"), [(0.15, 3.0, 25), (0.15, 10.0, 8), (0.5, 3.0, 85), (0.15, 1.0, 77)])
def test_15_percent_in_spans_of_3_as_in_the_paper(rate, length, spans):
    """Of 512 tokens T5 hides 77 in 25 or 26 spans of 3.04; the lengths are those of a random cut."""
    hidden, lengths = [], Counter()
    for seed in range(300):
        _source, target = corrupt_spans(np.arange(512), SENTINELS, rate, length, stream(seed, "noise"))
        places = [place for place, token in enumerate(target.tolist()) if token >= SENTINELS[0]]
        sizes = np.diff([*places, len(target)]) - 1
        hidden.append(sizes.sum())
        lengths.update(sizes.tolist())
        assert abs(len(places) - spans) <= 1
    assert set(hidden) == {round(512 * rate)}
    mean = sum(size * count for size, count in lengths.items()) / lengths.total()
    assert mean == pytest.approx(length, rel=0.05)
    if length == 3.0 and rate == 0.15:
        # 77 tokens cut into 26 spans: P(1) = 25/76 by counting the cuts.
        assert lengths[1] / lengths.total() == pytest.approx(25 / 76, abs=0.02)


def test_every_place_is_about_as_likely_to_be_hidden():
    hidden = np.zeros(60)
    for seed in range(4000):
        source, _target = corrupt_spans(np.arange(60), SENTINELS, 0.15, 3.0, stream(seed, "noise"))
        hidden += ~np.isin(np.arange(60), source)
    assert hidden.mean() / 4000 == pytest.approx(0.15)
    # Spans begin and end inside the text, so those at its very ends are rarer.
    assert hidden[6:-6].max() < 1.3 * hidden[6:-6].min()
    assert hidden.min() > 0.25 * hidden.mean()


@given(size=st.integers(1, 200), rate=st.floats(0.05, 0.9), length=st.floats(0.5, 6), seed=st.integers(0, 99), spare=st.integers(0, 5))
def test_infilling_hides_so_many_tokens_and_keeps_the_order_of_the_others(size, rate, length, seed, spare):
    text = np.arange(10, 10 + size)
    source = infill(text, MASK, rate, length, stream(seed, "noise"), size + spare)
    kept = [token for token in source.tolist() if token != MASK]
    assert kept == sorted(set(kept)) and set(kept) <= set(text.tolist())
    assert size - len(kept) == min(size, max(1, round(size * rate)))
    assert MASK in source and len(source) <= size + spare


def test_the_lengths_of_infilled_spans_are_those_of_poisson_3():
    """Where a mask is not beside another, the gap in the numbers is the span's length."""
    lengths = Counter()
    for seed in range(2000):
        source = [-1, *infill(np.arange(1000), MASK, 0.02, 3.0, stream(seed, "noise")).tolist(), 1000]
        for before, token, after in zip(source, source[1:], source[2:], strict=False):
            if token == MASK and MASK not in (before, after):
                lengths[after - before - 1] += 1
    total = lengths.total()
    # The last span of a text is cut short where enough is hidden, so the long ones are a little rarer.
    for size in range(6):
        assert lengths[size] / total == pytest.approx(poisson.pmf(size, 3), abs=0.06)
    assert lengths[0] > 0


@pytest.mark.parametrize(
    "sentences", [["the cat sat.", "the dog saw;", "it was gone."], ["天气很好。", "我们走吧！", "好吗？", "🙂没有句号"]]
)
def test_sentences_are_shuffled_whole(sentences, masked_tokenizer):
    ids = [masked_tokenizer.encode(sentence) for sentence in sentences]
    ends = masked_tokenizer.sentence_ends()
    text = np.array([token for each in ids for token in each])
    orders = set()
    for seed in range(60):
        shuffled = shuffle_sentences(text, ends, stream(seed, "noise")).tolist()
        found = next(order for order in itertools.permutations(range(len(ids))) if [t for n in order for t in ids[n]] == shuffled)
        orders.add(found)
    assert len(orders) >= 6


def test_a_text_of_one_token_or_one_sentence_is_no_trouble():
    source, target = corrupt_spans(np.array([7]), SENTINELS, 0.15, 3.0, stream(0, "noise"))
    assert source.tolist() == [SENTINELS[0]] and target.tolist() == [SENTINELS[0], 7]
    assert infill(np.array([7]), MASK, 0.3, 3.0, stream(0, "noise"), 1).tolist() == [MASK]
    assert shuffle_sentences(np.array([7]), np.zeros(10, bool), stream(0, "noise")).tolist() == [7]
