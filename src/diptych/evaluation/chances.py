"""How good probabilities are: whether they order texts, whether they are true, and what a threshold makes of them.

The area under a precision-recall curve is no ratio of sums, so it is taken as Spearman's correlation is: its influence function
says how much each example moves it, and the mean of value plus influence is the value and has its spread.
"""

import numpy as np

from diptych.evaluation.intervals import Counts, mean_of

BINS = 15
"""Bins of confidence, as Guo et al. (2017) take them."""


def pr_area_of(name: str, gold_NC: np.ndarray, chances_NC: np.ndarray) -> Counts:
    """Average precision, Σ (R_n - R_n-1) P_n over the thresholds, as scikit-learn has it; the mean over the classes that occur.

    Args:
        gold_NC: whether each class is right for each text. chances_NC: how probable it was said to be.
    """
    gold_NC, chances_NC = np.asarray(gold_NC, dtype=float), np.asarray(chances_NC, dtype=float)
    columns = [_area_and_influence(gold_NC[:, c], chances_NC[:, c]) for c in range(gold_NC.shape[1]) if gold_NC[:, c].any()]
    return mean_of(name, np.mean(columns, axis=0) if columns else np.zeros(len(gold_NC)))


def calibration_error_of(name: str, chances_N: np.ndarray, right_N: np.ndarray) -> Counts:
    """The expected calibration error: how far confidence lies from the share that is right, over bins of confidence by their size.

    It is never negative, so on few examples it is too high, for a system and for its interval alike.
    """
    chances_N, right_N = np.asarray(chances_N, dtype=float), np.asarray(right_N, dtype=float)
    bins = np.clip(np.ceil(chances_N * BINS).astype(int) - 1, 0, BINS - 1)
    rows = np.zeros((len(chances_N), BINS + 1))
    rows[np.arange(len(chances_N)), bins] = chances_N - right_N
    rows[:, BINS] = 1
    return Counts(name, rows, lambda sums: np.abs(sums[..., :BINS]).sum(-1) / np.maximum(1, sums[..., BINS]))


def share_of(name: str, right_N: np.ndarray, among_N: np.ndarray) -> Counts:
    """The share of right answers among some of the texts: sensitivity among those that are, specificity among those that are not."""
    among_N = np.asarray(among_N, dtype=float)
    rows = np.stack([np.asarray(right_N, dtype=float) * among_N, among_N], axis=1)
    return Counts(name, rows, lambda sums: np.divide(sums[..., 0], sums[..., 1], out=np.zeros(sums.shape[:-1]), where=sums[..., 1] > 0))


def _area_and_influence(gold_N: np.ndarray, chances_N: np.ndarray) -> np.ndarray:
    """The average precision plus what each example adds to it, whose mean is the average precision."""
    size, share = len(gold_N), gold_N.mean()
    order = np.argsort(chances_N, kind="stable")
    ordered = chances_N[order]
    below, up_to = np.searchsorted(ordered, chances_N, "left"), np.searchsorted(ordered, chances_N, "right")
    hits = np.concatenate([[0.0], np.cumsum(gold_N[order])])
    # Of all examples: the share at least as probable as each, and the share of those that are right as well.
    found, right = (size - below) / size, (hits[-1] - hits[below]) / size
    own = gold_N * right / found
    area = own.mean() / share

    def below_and_equal(values: np.ndarray) -> np.ndarray:
        sums = np.concatenate([[0.0], np.cumsum(values[order])])
        return sums[up_to] / size

    # An example's own precision, and how it moves the precision at all thresholds below it.
    moved = gold_N * below_and_equal(gold_N / found) - below_and_equal(gold_N * right / found**2)
    return area + (own - own.mean() + moved) / share - area * (gold_N - share) / share
