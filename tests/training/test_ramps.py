"""Batches and texts that grow: counted by hand, by brute force, and against the order of a run without them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.config import TrainSettings, parse
from diptych.errors import RecipeError
from diptych.packed import Packed
from diptych.training.order import Order
from diptych.training.ramps import Batches, in_pieces, longest_piece
from diptych.training.schedules import Budget

RAMPS = st.builds(Batches, st.integers(1, 40), st.floats(0.05, 0.95), st.integers(0, 30))


class Rows:
    """So many examples of six tokens."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def num_tokens(self, index):
        assert 0 <= index < self.count
        return 6


def test_a_batch_grows_in_a_straight_line():
    batches = Batches(8, 0.25, 4)
    sizes = [batches.before(step + 1) - batches.before(step) for step in range(7)]
    assert sizes == [2, 4, 5, 6, 8, 8, 8]  # 2, 3.5, 5 and 6.5, rounded to even


@settings(max_examples=60, deadline=None)
@given(batches=RAMPS, examples=st.integers(1, 900))
def test_so_many_steps_show_so_many_examples_and_no_fewer_would(batches, examples):
    steps = batches.steps_for(examples)
    assert batches.before(steps) >= examples > batches.before(steps - 1)


@settings(max_examples=60, deadline=None)
@given(batches=RAMPS, count=st.integers(1, 50))
def test_examples_come_in_the_order_in_which_they_come_without_it(batches, count):
    total = 2 * count
    grown, plain = (Order(count, each, 3, limit=total) for each in (batches, Batches(7)))
    walks = [[place for step in range(total) for place in order.places(step)] for order in (grown, plain)]
    assert walks[0] == walks[1] and len(walks[0]) == total


@pytest.mark.parametrize(("start", "until"), [(0.25, 1.0), (0.5, 0.6)])
@pytest.mark.parametrize("budget", [{"steps": 40}, {"epochs": 3.0}, {"tokens": 6 * 300}], ids=str)
def test_the_ramp_takes_its_share_of_the_steps_whatever_the_budget_is_in(budget, start, until):
    asked = TrainSettings(**budget, batch_ramp={"start": start, "until": until})
    examples = Rows(100)
    batches = Batches.of(asked, examples, 10)
    limits = Budget.of(asked, len(examples), batches)
    steps = limits.steps or next(step for step in range(999) if 6 * batches.before(step) >= 6 * 300)
    assert batches.ramp_steps == pytest.approx(until * steps, abs=1.5)
    assert batches.before(1) == round(start * 10)


def test_texts_are_as_long_as_their_stage_says():
    asked = TrainSettings(length_ramp=[{"length": 128, "until": 0.7}, {"length": 256, "until": 0.9}])
    found = [longest_piece(asked, spent) for spent in (0.0, 0.69, 0.7, 0.89, 0.9, 1.0)]
    assert found == [128, 128, 256, 256, None, None]
    assert longest_piece(TrainSettings(), 0.0) is None


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6), longest=st.integers(1, 50))
def test_pieces_hold_every_token_once_and_in_order(lengths, longest):
    texts = Packed(torch.arange(sum(lengths)), tuple(lengths))
    cut = in_pieces(texts, longest)
    assert torch.equal(cut.ids_N, texts.ids_N) and sum(cut.lengths) == sum(lengths) and max(cut.lengths) <= longest
    borders = set(torch.tensor(cut.lengths).cumsum(0).tolist())
    assert borders >= set(torch.tensor(lengths).cumsum(0).tolist()), "no piece reaches over the end of its text"


def test_pieces_do_not_see_each_other_and_are_asked_the_same(setting):
    made = setting("causal-lm")
    places = Order(len(made.examples), Batches(3), 0).places(0)
    whole, cut = (made.task.collate(made.examples, places) for _ in range(2))
    cut.texts = in_pieces(cut.texts, 5)
    assert torch.equal(whole.targets["lm"].gold_M, cut.targets["lm"].gold_M)
    first = made.net.hidden(cut.texts)[:5]
    torch.testing.assert_close(first, made.net.hidden(Packed(cut.texts.ids_N[:5], (5,))), atol=1e-6, rtol=1e-5)
    other = cut.texts.ids_N.clone()
    other[:5] = other[:5].flip(0)
    changed = made.net.hidden(Packed(other, cut.texts.lengths))
    assert torch.equal(changed[5:], made.net.hidden(cut.texts)[5:])


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_ramp": {"start": 1.5}},
        {"length_ramp": [{"length": 64, "until": 0.5}, {"length": 32, "until": 0.7}]},
        {"length_ramp": [{"length": 32, "until": 0.5}, {"length": 64, "until": 0.4}]},
        {"length_ramp": [{"length": 32}]},
    ],
    ids=str,
)
def test_ramps_that_make_no_sense_are_refused(wrong):
    with pytest.raises(RecipeError) as caught:
        parse(TrainSettings, wrong, where="here")
    assert caught.value.code in ("E403", "E405")
