"""The n-gram model against Chen and Goodman's equations written out with dictionaries, and as a distribution."""

import math
from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

import diptych as dt
from diptych.evaluation.baselines.kneser_ney import USUAL_DISCOUNTS, KneserNey, ngram_scores
from diptych.ledger import Ledger
from diptych.text.shards import TokenShards

Gram = tuple[int, ...]


class ByHand:
    """Modified Kneser-Ney as the paper says it: counts in dictionaries, one probability at a time."""

    def __init__(self, documents: list[list[int]], vocab_size: int, order: int) -> None:
        self.vocab_size, self.order = vocab_size, order
        self.counts: dict[int, Counter[Gram]] = {size: Counter() for size in range(1, order + 1)}
        for document in documents:
            padded = [vocab_size] * (order - 1) + document
            for place in range(order - 1, len(padded)):
                self.counts[order][tuple(padded[place - order + 1 : place + 1])] += 1
        for size in range(order - 1, 0, -1):
            # N1+(• w): how many different tokens stand before the gram.
            before: dict[Gram, set[int]] = defaultdict(set)
            for gram in self.counts[size + 1]:
                before[gram[1:]].add(gram[0])
            self.counts[size] = Counter({gram: len(first) for gram, first in before.items()})

    def discounts(self, size: int) -> tuple[float, ...]:
        n = [sum(count == times for count in self.counts[size].values()) for times in (1, 2, 3, 4)]
        if not all(n):
            return USUAL_DISCOUNTS
        y = n[0] / (n[0] + 2 * n[1])
        found = (1 - 2 * y * n[1] / n[0], 2 - 3 * y * n[2] / n[1], 3 - 4 * y * n[3] / n[2])
        return found if all(0 < each <= times for times, each in enumerate(found, 1)) else USUAL_DISCOUNTS

    def probability(self, history: Gram, token: int) -> float:
        return self._of(history[len(history) - self.order + 1 :] if self.order > 1 else (), token)

    def _of(self, context: Gram, token: int) -> float:
        size = len(context) + 1
        lower = 1 / self.vocab_size if not context else self._of(context[1:], token)
        followers = {gram[-1]: count for gram, count in self.counts[size].items() if gram[:-1] == context}
        if not followers:
            return lower
        d = (0.0, *self.discounts(size))
        total = sum(followers.values())
        own = max(0.0, followers.get(token, 0) - d[min(3, followers.get(token, 0))]) / total
        passed = sum(d[min(3, count)] for count in followers.values()) / total
        return own + passed * lower


def probability(model: KneserNey, history: Gram, token: int) -> float:
    padded = (model.vocab_size,) * (model.order - 1) + history
    nearest = padded[::-1][: model.order - 1]
    return float(model.probabilities(np.array([nearest], np.int64).reshape(1, -1), np.array([token]))[0])


documents = st.lists(st.lists(st.integers(0, 4), max_size=14), min_size=1, max_size=6).filter(any)


@limits(max_examples=60)
@given(documents, st.integers(1, 4))
def test_every_probability_is_that_of_the_equations(texts: list[list[int]], order: int) -> None:
    ours, theirs = KneserNey([np.array(text, np.int64) for text in texts], 6, order), ByHand(texts, 6, order)
    for history in [(), (0,), (1, 2), (5, 0, 1), (2, 2, 2, 2), *[tuple(text[:5]) for text in texts]]:
        padded = (6,) * (order - 1) + history
        for token in range(6):
            assert probability(ours, history, token) == pytest.approx(theirs.probability(padded, token), abs=1e-12)


@limits(max_examples=40)
@given(documents, st.integers(1, 4))
def test_probabilities_sum_to_one_after_any_history(texts: list[list[int]], order: int) -> None:
    model = KneserNey([np.array(text, np.int64) for text in texts], 6, order)
    for history in product(range(6), repeat=2):
        chances = [probability(model, history, token) for token in range(6)]
        assert math.fsum(chances) == pytest.approx(1, abs=1e-9) and min(chances) > 0


def test_discounts_are_estimated_where_the_text_is_long_enough() -> None:
    draw = np.random.default_rng(0)
    text = (draw.zipf(1.4, 4000) % 700).astype(np.int64)
    ours, theirs = KneserNey([text], 700, 3), ByHand([text.tolist()], 700, 3)
    assert all(theirs.discounts(size) != USUAL_DISCOUNTS for size in (1, 2, 3))
    places = draw.integers(3, 4000, 40).tolist()
    for place in places:
        history = tuple(text[place - 3 : place].tolist())
        assert probability(ours, history, int(text[place])) == pytest.approx(theirs.probability(history, int(text[place])), rel=1e-9)


@pytest.mark.parametrize("line", ["The cat sat on the mat, and the cat slept. ", "今天天气很好，我们去公园散步。明天天气也好。"])
def test_what_was_read_is_cheaper_than_what_was_not_in_both_languages(line: str) -> None:
    known, other = np.frombuffer((line * 6).encode(), np.uint8), np.frombuffer(line[::-1].encode(), np.uint8)
    model = KneserNey([known, np.zeros(0, np.uint8)], 256)
    assert model.nats(np.frombuffer(line.encode(), np.uint8)).mean() < 1 < model.nats(other).mean() < 6
    assert len(model.nats(np.zeros(0, np.uint8))) == 0


def test_documents_are_scored_after_their_first_token_and_bits_are_by_byte() -> None:
    draw = np.random.default_rng(1)
    texts = [draw.integers(1, 20, size) for size in (30, 50, 0, 41)]
    borders = np.cumsum([0, *(len(text) for text in texts)])
    shards = TokenShards(np.concatenate(texts), borders, np.array([60, 100, 0, 82]))
    held = TokenShards(texts[0], np.array([0, 30]), np.array([60]))
    ledger = Ledger()
    scores = ngram_scores(shards, held, 20, ledger)
    nats = KneserNey(texts, 20).nats(texts[0])[1:]
    assert scores["bits per byte"].value == pytest.approx(nats.sum() / math.log(2) / 60)
    assert scores["nats per token"].value == pytest.approx(nats.mean())
    assert ledger.count("n-gram", "tokens that it was counted from") == 121


def test_a_model_that_writes_has_the_counts_of_its_text_beside_it() -> None:
    texts = [f"The cat sat on mat {n}. 今天天气很好，第{n}次。🙂\r\n" for n in range(40)]
    sizes = {"hidden_size": 16, "num_layers": 1, "head_size": 8, "context_length": 32}
    done = dt.pretrain("gpt-tiny", texts, sizes=sizes, tokenizer={"vocab_size": 300}, steps=2, held_out=0.2, precision="float32").pretrained
    counted = done.further["5-gram, Kneser-Ney"]
    assert counted["bits per byte"].n == done.scores["bits per byte"].n
    assert counted["bits per byte"].value < 1 < done.scores["bits per byte"].value, "two steps teach less than counting does"
