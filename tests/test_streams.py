"""Chance without hidden state: the same key gives the same numbers, another key others."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.streams import permute, seed_for, stream

keys = st.lists(st.one_of(st.integers(0, 5), st.sampled_from(["mask", "crop", "打乱"])), max_size=3)
seeds = st.integers(-(2**40), 2**70)


@settings(deadline=None)
@given(seeds, keys)
def test_the_same_key_draws_the_same_numbers(seed: int, key: list) -> None:
    assert np.array_equal(stream(seed, *key).random(8), stream(seed, *key).random(8))
    assert seed_for(seed, *key) == seed_for(seed, *key)


@settings(deadline=None)
@given(st.tuples(seeds, keys), st.tuples(seeds, keys))
def test_another_key_draws_other_numbers(one: tuple, other: tuple) -> None:
    is_same = one[0] == other[0] and [str(part) for part in one[1]] == [str(part) for part in other[1]]
    assert np.array_equal(stream(one[0], *one[1]).random(4), stream(other[0], *other[1]).random(4)) == is_same


def test_parts_of_a_key_do_not_run_together() -> None:
    assert seed_for(1, "ab", "c") != seed_for(1, "a", "bc")
    assert seed_for(1, 1, 11) != seed_for(1, 11, 1) != seed_for(11, 1, 1)
    assert seed_for(1) != seed_for(1, "")


def test_numbers_are_the_same_in_another_process() -> None:
    code = "from diptych.streams import stream, seed_for; print(stream(7, 'mask', 3).integers(1 << 60), seed_for(7, 'dropout', 2))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found == [str(stream(7, "mask", 3).integers(1 << 60)), str(seed_for(7, "dropout", 2))]


def test_streams_of_neighbouring_keys_are_not_correlated() -> None:
    draws = np.stack([stream(0, "mask", epoch, index).standard_normal(500) for epoch in range(4) for index in range(10)])
    correlation = np.corrcoef(draws)[~np.eye(len(draws), dtype=bool)]
    # 1,560 correlations of 500 independent pairs: their spread is 1/sqrt(500), and none lies beyond five of it.
    assert abs(correlation).max() < 5 / np.sqrt(500)
    assert correlation.std() == pytest.approx(1 / np.sqrt(500), rel=0.1)


@settings(deadline=None)
@given(seeds, keys)
def test_a_seed_for_a_library_fits_its_generator(seed: int, key: list) -> None:
    found = seed_for(seed, *key)
    assert 0 <= found < 2**63
    torch.Generator().manual_seed(found)


@settings(deadline=None)
@given(st.integers(1, 600), seeds, keys)
def test_a_shuffle_puts_everything_somewhere_and_nothing_twice(size: int, seed: int, key: list) -> None:
    found = permute(np.arange(size), size, seed, *key)
    assert found.dtype == np.int64
    assert np.array_equal(np.sort(found), np.arange(size))


@settings(deadline=None)
@given(st.integers(1, 10**12), st.integers(0, 100))
def test_a_shuffle_answers_for_single_places_of_a_corpus_of_any_size(size: int, seed: int) -> None:
    places = np.unique(np.array([0, size // 3, size // 2, size - 1]))
    found = permute(places, size, seed, "order")
    assert ((found >= 0) & (found < size)).all()
    assert len(np.unique(found)) == len(places)
    one_by_one = [int(permute(np.array([place]), size, seed, "order")[0]) for place in places]
    assert found.tolist() == one_by_one, "each place is answered alone, whatever else is asked"


def test_a_shuffle_leaves_its_argument_alone_and_takes_nothing_as_well() -> None:
    places = np.arange(10)
    permute(places, 10, 0)
    assert np.array_equal(places, np.arange(10))
    assert permute(np.empty(0, np.int64), 10, 0).shape == (0,)


def test_the_order_changes_with_the_seed_and_with_the_key() -> None:
    orders = {tuple(permute(np.arange(100), 100, seed, "order", epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_a_shuffle_favours_no_place() -> None:
    size, num_keys = 12, 3000
    found = np.stack([permute(np.arange(size), size, seed, "order") for seed in range(num_keys)])
    counts = np.stack([np.bincount(found[:, place], minlength=size) for place in range(size)])
    expected = num_keys / size
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    degrees = (size - 1) ** 2
    assert chi_squared < degrees + 5 * np.sqrt(2 * degrees)


def test_every_order_of_a_few_things_comes_up() -> None:
    orders = {tuple(permute(np.arange(3), 3, seed, "order").tolist()) for seed in range(300)}
    assert orders == set(itertools.permutations(range(3)))
