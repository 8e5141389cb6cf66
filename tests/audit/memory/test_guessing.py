"""Numbers of attacks beside scikit-learn, closed forms, and mechanisms whose ε is known."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from diptych.audit.memory.guessing import area, curve, guess, least_epsilon, share
from diptych.streams import stream


def scores(gap, members=400, others=300, seed=0):
    draw = stream(seed, "scores")
    return draw.normal(gap, 1, members).round(2), draw.normal(0, 1, others).round(2)


@pytest.mark.parametrize("gap", [0.0, 0.7, 3.0])
def test_the_area_is_scikit_learns_and_lies_in_its_interval(gap):
    members, others = scores(gap)
    found = area(members, others)
    labels = [1] * len(members) + [0] * len(others)
    assert found.value == pytest.approx(roc_auc_score(labels, np.concatenate([members, others])))
    assert found.low <= found.value <= found.high
    assert found.low <= norm.cdf(gap / math.sqrt(2)) <= found.high


def test_intervals_of_the_area_hold_the_truth_as_often_as_they_say():
    truth = norm.cdf(0.5 / math.sqrt(2))
    held = 0
    for seed in range(300):
        found = area(*scores(0.5, 80, 80, seed))
        held += found.low <= truth <= found.high
    assert 0.91 <= held / 300 <= 0.99


def test_a_share_has_the_interval_of_clopper_and_pearson():
    """Their own example of 0 in 10 is solved by hand: (1 - p)^10 = 0.025."""
    nothing = share(0, 10)
    assert (nothing.value, nothing.low) == (0.0, 0.0)
    assert nothing.high == pytest.approx(1 - 0.025**0.1)
    every = share(10, 10)
    assert every.high == 1.0 and every.low == pytest.approx(0.025**0.1)
    half = share(5, 10)
    assert half.low == pytest.approx(0.1871, abs=1e-4) and half.high == pytest.approx(0.8129, abs=1e-4)


def test_what_is_found_keeps_to_a_hundredth_of_false_alarms():
    members, others = scores(2.0, 2000, 2000)
    found = guess("loss", members, others, delta=1e-5)
    assert found.alarms.value <= 0.01
    assert found.found.low <= 1 - norm.cdf(norm.ppf(0.99) - 2.0) <= found.found.high + 0.03
    assert found.curve[0] == (0.0, 0.0) and found.curve[-1] == (1.0, 1.0)
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in zip(found.curve, found.curve[1:]))


def test_a_curve_has_the_area_that_is_said():
    members, others = scores(1.0, 200, 200)
    points = np.array(curve(members, others, 10_000))
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(area(members, others).value, abs=0.01)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0])
def test_the_bound_for_epsilon_never_says_more_than_is_true(epsilon):
    """Randomized response: the answer is true with probability e^ε / (1 + e^ε), and no test can tell more."""
    truth = math.exp(epsilon) / (1 + math.exp(epsilon))
    found = []
    for seed in range(60):
        draw = stream(seed, "answers")
        members, others = (draw.random(2000) < truth).astype(float), (draw.random(2000) >= truth).astype(float)
        found.append(least_epsilon(members, others, 0.0, seed=seed))
    assert np.mean(np.array(found) <= epsilon) >= 0.95
    assert np.median(found) > 0.6 * epsilon


def test_what_cannot_be_told_gives_no_bound_and_what_can_gives_one():
    members, others = scores(0.0, 500, 500)
    assert least_epsilon(members, others, 1e-5) < 0.5
    assert least_epsilon(members + 100, others, 1e-5) > 4
    assert least_epsilon(members - 100, others, 1e-5) > 4  # members can look less likely, and are told all the same
