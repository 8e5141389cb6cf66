"""The order of examples: each exactly once per epoch, keyed by the seed, and nothing else."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.config import TrainSettings
from diptych.training.order import Order
from diptych.training.ramps import Batches
from diptych.training.schedules import Budget


def walk(order, steps):
    return [place for step in range(steps) for place in order.places(step)]


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 60), batch=st.integers(1, 80), seed=st.integers(0, 9))
def test_every_example_is_shown_exactly_once_per_epoch(count, batch, seed):
    places = walk(Order(count, Batches(batch), seed), -(-3 * count // batch))[: 3 * count]
    assert [place.epoch for place in places] == [0] * count + [1] * count + [2] * count
    for epoch in range(3):
        assert sorted(place.index for place in places if place.epoch == epoch) == list(range(count))
    assert {place.seed for place in places} == {seed}


def test_the_order_is_another_in_each_epoch_and_for_each_seed():
    orders = {tuple(place.index for place in Order(40, Batches(40), seed).places(epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 40), batch=st.integers(1, 50), other=st.integers(1, 50))
def test_the_sequence_does_not_depend_on_the_size_of_the_batches(count, batch, other):
    """So a batch that reaches over the end of an epoch takes the end of one and the beginning of the next."""
    total = 2 * count
    one, two = (walk(Order(count, Batches(size), 3), -(-total // size))[:total] for size in (batch, other))
    assert one == two


def test_a_step_is_known_without_those_before_it():
    assert Order(30, Batches(7), 1).places(11) == walk(Order(30, Batches(7), 1), 12)[77:]


def test_how_much_is_spent_changes_no_place_and_no_chance():
    order = Order(30, Batches(7), 1)
    early, late = order.places(2, 0.1), order.places(2, 0.9)
    assert {place.spent for place in early} == {0.1} and {place.spent for place in order.places(2)} == {1.0}
    for one, other in zip(early, late, strict=True):
        assert (one.seed, one.epoch, one.index) == (other.seed, other.epoch, other.index)
        assert one.stream("mask").random() == other.stream("mask").random()


@pytest.mark.parametrize(("epochs", "count", "batch"), [(1, 10, 3), (2.5, 10, 4), (0.3, 10, 2), (1.5, 7, 7), (3, 1, 5), (0.01, 10, 4)])
def test_epochs_show_so_many_examples_with_a_partial_last_step(epochs, count, batch):
    budget = Budget.of(TrainSettings(epochs=epochs), count, Batches(batch))
    order = Order(count, Batches(batch), 0, budget.examples)
    places = walk(order, budget.steps)
    expected = max(1, round(epochs * count))
    assert len(places) == expected
    assert order.places(budget.steps) == []
    times = Counter(place.index for place in places)
    assert max(times.values()) - min(times.get(index, 0) for index in range(count)) <= 1


@settings(max_examples=60, deadline=None)
@given(epochs=st.floats(0.01, 3), count=st.integers(1, 50), batch=st.integers(1, 20))
def test_no_step_of_a_budget_in_epochs_is_empty(epochs, count, batch):
    budget = Budget.of(TrainSettings(epochs=epochs), count, Batches(batch))
    order = Order(count, Batches(batch), 0, budget.examples)
    assert all(order.places(step) for step in range(budget.steps))
    assert not order.places(budget.steps)
