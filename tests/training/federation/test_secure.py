"""The secure sum: exact with three of ten gone, nobody's numbers in what the server sees, and no two secrets of one member."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("cryptography")

from diptych.errors import TrainingError
from diptych.training.federation.secure import FRACTION_BITS, Member, fixed, joined, plain, split, unmasked

SHAPE = (3, 50)


def numbers(seed):
    return np.random.default_rng(seed).normal(size=SHAPE) * 100


def round_of(count, gone, threshold, *, silent=()):
    """A whole round: `gone` drop out before their numbers arrive, `silent` before they reveal anything."""
    members = {f"成员{number}": Member(f"成员{number}") for number in range(count)}
    keys = {name: member.public_keys() for name, member in members.items()}
    sealed = {name: member.shares(keys, threshold) for name, member in members.items()}
    for name, member in members.items():
        member.receive({other: shares[name] for other, shares in sealed.items()})
    there = [name for number, name in enumerate(members) if number not in gone]
    masked = {name: members[name].masked(numbers(number)) for number, name in enumerate(members) if number not in gone}
    missing = [name for name in members if name not in there]
    revealed = {name: members[name].reveal(there, missing) for name in there if name not in {f"成员{number}" for number in silent}}
    return masked, unmasked(masked, keys, revealed, threshold)


@pytest.mark.parametrize("gone", [(), (0, 4, 9), (7, 8, 9)])
def test_the_sum_is_exact_with_three_of_ten_gone(gone):
    _masked, total = round_of(10, gone, 6)
    # In the ring a sum is exact; a sum of floating-point numbers would depend on its order.
    ring = np.zeros(SHAPE, np.uint64)
    for number in range(10):
        if number not in gone:
            ring = ring + fixed(numbers(number))
    np.testing.assert_array_equal(total, plain(ring))
    np.testing.assert_allclose(total, sum(numbers(n) for n in range(10) if n not in gone), rtol=0, atol=10 * 2.0**-FRACTION_BITS)


def test_some_may_be_gone_when_the_masks_are_mended_too():
    _masked, total = round_of(10, (0, 1), 6, silent=(2, 3))
    np.testing.assert_allclose(total, sum(numbers(n) for n in range(2, 10)), rtol=0, atol=1e-7)


def test_too_few_mend_nothing():
    with pytest.raises(TrainingError) as caught:
        round_of(10, (0, 1, 2), 6, silent=(3, 4))
    assert caught.value.code == "E589"


def test_what_the_server_sees_of_one_member_is_spread_over_the_whole_ring():
    masked, _total = round_of(4, (), 3)
    for number, values in enumerate(masked.values()):
        assert not np.isclose(plain(values), numbers(number), atol=1.0).any()
        # Uniform in 8 bins: chi-squared with 7 degrees of freedom is above 29.9 once in 10,000 times.
        counts = np.bincount((values.ravel() >> np.uint64(61)).astype(int), minlength=8)
        assert ((counts - values.size / 8) ** 2 / (values.size / 8)).sum() < 29.9


def test_a_server_that_asks_for_both_secrets_of_a_member_is_refused():
    member = Member("a")
    other = Member("b")
    keys = {"a": member.public_keys(), "b": other.public_keys()}
    member.receive({"a": member.shares(keys, 2)["a"], "b": other.shares(keys, 2)["a"]})
    with pytest.raises(TrainingError) as caught:
        member.reveal(["a", "b"], ["b"])
    assert caught.value.code == "E588"
    member.reveal(["a", "b"], [])
    with pytest.raises(TrainingError) as caught:
        member.reveal(["a"], ["b"])
    assert caught.value.code == "E588"


def test_a_share_that_was_changed_on_its_way_is_refused():
    member, other = Member("a"), Member("b")
    keys = {"a": member.public_keys(), "b": other.public_keys()}
    member.shares(keys, 2)
    sealed = bytearray(other.shares(keys, 2)["a"])
    sealed[-1] ^= 1
    with pytest.raises(TrainingError) as caught:
        member.receive({"b": bytes(sealed)})
    assert caught.value.code == "E587" and "b" in str(caught.value)


@pytest.mark.parametrize("threshold", [1, 5, 11])
def test_a_threshold_that_fewer_than_half_could_reach_is_refused(threshold):
    members = {str(number): Member(str(number)) for number in range(10)}
    with pytest.raises(TrainingError) as caught:
        members["0"].shares({name: member.public_keys() for name, member in members.items()}, threshold)
    assert caught.value.code == "E586"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e12])
def test_what_is_no_number_of_the_ring_is_refused_by_the_member_itself(value):
    with pytest.raises(TrainingError) as caught:
        fixed(np.array([1.0, value]))
    assert caught.value.code == "E585"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**256 - 1), st.integers(1, 8), st.randoms(use_true_random=False))
def test_any_so_many_shares_give_the_secret_and_one_fewer_gives_another(secret, threshold, draw: random.Random):
    shares = split(secret, threshold, range(1, 11))
    chosen = draw.sample(sorted(shares), threshold)
    assert joined({place: shares[place] for place in chosen}, threshold) == secret
    if threshold > 1:
        assert joined({place: shares[place] for place in chosen[:-1]}, threshold - 1) != secret
