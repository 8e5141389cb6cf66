"""Metrics of probabilities: against scikit-learn on a thousand drawn inputs, and against their formulas by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, recall_score

from diptych.evaluation.chances import BINS, calibration_error_of, pr_area_of, share_of

TIMES = 1000


def value(counts) -> float:
    return float(counts.value(counts.rows_NS.sum(0)))


def test_the_precision_recall_area_is_scikit_learns() -> None:
    draw = np.random.default_rng(0)
    for _ in range(TIMES):
        size, classes = int(draw.integers(2, 40)), int(draw.integers(1, 4))
        gold = draw.random((size, classes)) < draw.uniform(0.1, 0.9)
        gold[0] = True
        # Rounded, so that there are ties.
        chances = draw.random((size, classes)).round(int(draw.integers(1, 4)))
        theirs = average_precision_score(gold, chances, average="macro")
        assert value(pr_area_of("area", gold, chances)) == pytest.approx(theirs, abs=1e-9)


def test_classes_that_do_not_occur_do_not_count() -> None:
    gold = np.array([[True, False], [False, False], [True, False]])
    chances = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.3]])
    assert value(pr_area_of("area", gold, chances)) == pytest.approx(average_precision_score(gold[:, 0], chances[:, 0]))
    assert value(pr_area_of("area", np.zeros((3, 2)), chances)) == 0


def test_the_influence_is_the_derivative_of_the_area() -> None:
    """An example that is counted 1 + h times moves the area by h/n times its influence."""
    draw = np.random.default_rng(1)
    gold, chances = draw.random(30) < 0.4, draw.random(30).round(1)
    each = pr_area_of("area", gold[:, None], chances[:, None]).rows_NS[:, 0]
    area = average_precision_score(gold, chances)
    for number in range(30):
        weights = np.ones(30)
        weights[number] += 1e-4
        moved = average_precision_score(gold, chances, sample_weight=weights)
        assert (moved - area) * 30 / 1e-4 == pytest.approx(each[number] - area, abs=1e-3)


def test_the_calibration_error_is_its_formula() -> None:
    draw = np.random.default_rng(2)
    for _ in range(TIMES):
        size = int(draw.integers(1, 60))
        chances = draw.random(size).round(int(draw.integers(1, 5)))
        right = draw.random(size) < chances
        error = 0.0
        for number in range(BINS):
            low, high = number / BINS, (number + 1) / BINS
            inside = [n for n in range(size) if low < chances[n] <= high or (number == 0 and chances[n] == 0)]
            if inside:
                gap = abs(np.mean([chances[n] for n in inside]) - np.mean([right[n] for n in inside]))
                error += len(inside) / size * gap
        assert value(calibration_error_of("error", chances, right)) == pytest.approx(error, abs=1e-9)


def test_one_who_is_sure_and_right_is_calibrated_and_one_who_is_sure_and_wrong_is_not() -> None:
    assert value(calibration_error_of("error", np.ones(5), np.ones(5))) == 0
    assert value(calibration_error_of("error", np.ones(5), np.zeros(5))) == 1


@pytest.mark.slow
def test_sensitivity_and_specificity_are_the_recalls_of_the_two_classes() -> None:
    draw = np.random.default_rng(3)
    for _ in range(TIMES):
        size = int(draw.integers(1, 40))
        gold, said = draw.random(size) < 0.5, draw.random(size) >= draw.random()
        theirs = recall_score(gold, said, zero_division=0), recall_score(~gold, ~said, zero_division=0)
        assert value(share_of("sensitivity", said, gold)) == pytest.approx(theirs[0])
        assert value(share_of("specificity", ~said, ~gold)) == pytest.approx(theirs[1])


def test_every_number_has_an_interval_that_holds_it() -> None:
    draw = np.random.default_rng(4)
    gold = draw.random(300) < 0.4
    chances = np.clip(gold * 0.3 + draw.random(300) * 0.7, 0, 1)
    for counts in (pr_area_of("area", gold[:, None], chances[:, None]), share_of("sensitivity", chances > 0.5, gold)):
        score = counts.score()
        assert score.low < score.value < score.high and math.isfinite(score.high)
