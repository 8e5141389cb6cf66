"""Sentence order: the same two halves, either way round, of one document; every token once."""

import itertools
from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest

from diptych.ledger import Ledger
from diptych.tasks.masked_lm import MaskedLM, MaskedLMSettings
from diptych.tasks.pairs import ORDERED, SWAPPED, OrderRows
from diptych.tasks.task import Place


@pytest.fixture
def ordered(shards_of, wide_tokenizer):
    """(task, examples) over documents in which no token occurs twice and each is one more than the token before."""

    def build(lengths, row_length=24):
        ends = np.cumsum([5, *lengths])
        task = MaskedLM(MaskedLMSettings(sop=True))
        documents = [list(range(a, b)) for a, b in itertools.pairwise(ends)]
        return task, task.examples(shards_of(documents), wide_tokenizer, row_length, Ledger())

    return build


def pairs_of(task, examples, epoch):
    """(tokens of the first half, of the second, what the task says) of every pair of an epoch."""
    special = task.tokenizer.special_ids
    for index in range(len(examples)):
        for text in task._row(examples, Place(0, epoch, index)):
            kinds = text.types.tolist()
            sides = [
                [token for token, kind in zip(text.tokens.tolist(), kinds, strict=True) if kind == side and token not in special]
                for side in (0, 1)
            ]
            yield sides[0], sides[1], text.follows


@pytest.mark.parametrize("lengths", [[30, 7, 55, 12, 40, 1, 90, 21], [300]], ids=["eight documents", "one document"])
def test_a_pair_is_the_two_halves_of_one_passage_in_order_or_swapped(ordered, lengths):
    task, examples = ordered(lengths)
    assert isinstance(examples, OrderRows)
    kinds = Counter()
    for epoch in range(-1, 30):
        shown = []
        for first, second, order in pairs_of(task, examples, epoch):
            shown += first + second
            kinds[order] += 1
            if order is None:
                assert len(first + second) == 1
                continue
            assert (order == ORDERED) == (second[0] == first[-1] + 1)
            assert (order == SWAPPED) == (first[0] == second[-1] + 1)
        assert sorted(shown) == examples.shards.tokens.tolist()
    assert binomtest(kinds[SWAPPED], kinds[SWAPPED] + kinds[ORDERED], 0.5).pvalue > 0.001


def test_one_document_is_enough_and_the_head_is_asked(ordered, tiny_net):
    task, examples = ordered([200])
    assert task.heads == ("lm", "nsp")
    net = tiny_net("bert", task.tokenizer.vocab_size)
    task.prepare(net, 0)
    batch = task.collate(examples, [Place(0, 0, index) for index in range(len(examples))])
    loss = task.loss(task.forward(net, batch), batch)
    assert int(loss["nsp"].count_B.sum()) == len(batch.keys) == batch.counts()["nsp"]
    assert loss["nsp"].weight == task.settings.nsp_weight
    assert task.titles["nsp"] == "nats per sentence order"


def test_orders_are_drawn_from_the_place_alone(ordered):
    task, examples = ordered([40] * 12)
    orders = {epoch: [order for *_, order in pairs_of(task, examples, epoch)] for epoch in range(6)}
    assert len({tuple(order) for order in orders.values()}) == 6
    alone = [text.follows for index in reversed(range(len(examples))) for text in reversed(task._row(examples, Place(0, 3, index)))]
    assert alone[::-1] == orders[3]
