"""Whether a classifier may be believed when it says how sure it is, and what to do where it may not.

A reliability curve puts beside each confidence the share that was right. Temperature scaling (Guo et al. 2017) divides all logits by
the one number that makes the right answers most probable; no answer changes by it. Abstaining keeps the answers whose confidence
reaches a threshold; the least threshold for a target is found going down from 1 while the share that is right is shown to reach the
target, which is testing in a fixed order, so that the promise holds with 95 % confidence though many thresholds are looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diptych.evaluation.chances import BINS
from diptych.evaluation.intervals import LEVEL

# Shapes: N texts, C classes.

COLDEST, HOTTEST = 0.02, 50.0
THRESHOLDS = tuple(np.round(np.arange(0.99, -0.001, -0.01), 2).tolist())
FEWEST_KEPT = 20
"""Of fewer answers a share says nothing."""


@dataclass(frozen=True)
class Bin:
    """The texts whose confidence lies in one stretch: their mean confidence, the share that was right with its interval, how many."""

    confidence: float
    right: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Kept:
    """What is left when a model abstains below a threshold: the share of texts that it answers, and the share that is right there."""

    threshold: float
    coverage: float
    accuracy: float
    low: float
    """The lower end of the one-sided 95 % interval of the accuracy."""


def temperature_of(logits_NC: np.ndarray, gold_N: np.ndarray) -> float:
    """What all logits are divided by so that the right answers are most probable: the mean negative log-likelihood is least.

    It is convex in 1 / T, so there is one. Texts whose answer no class is (a negative number) are left out.
    """
    from scipy.optimize import minimize_scalar

    known = gold_N >= 0
    logits, gold = np.asarray(logits_NC, dtype=np.float64)[known], gold_N[known]
    if not len(gold):
        return 1.0
    logits = logits - logits.max(1, keepdims=True)
    right = logits[np.arange(len(gold)), gold]

    def nats(log_scale: float) -> float:
        scale = np.exp(log_scale)
        return float((np.log(np.exp(scale * logits).sum(1)) - scale * right).mean())

    found = minimize_scalar(nats, bounds=(-np.log(HOTTEST), -np.log(COLDEST)), method="bounded", options={"xatol": 1e-9})
    return float(np.exp(-found.x))


def reliability(chances_N: Sequence[float] | np.ndarray, right_N: Sequence[bool] | np.ndarray) -> list[Bin]:
    """The bins that hold a text, from unsure to sure; Wilson's interval."""
    chances_N, right_N = np.asarray(chances_N, dtype=float), np.asarray(right_N, dtype=float)
    owner = np.clip(np.ceil(chances_N * BINS).astype(int) - 1, 0, BINS - 1)
    found = []
    for number in np.unique(owner):
        own = owner == number
        size = int(own.sum())
        found.append(Bin(float(chances_N[own].mean()), float(right_N[own].mean()), *wilson(float(right_N[own].sum()), size), size))
    return found


def coverage(chances_N: np.ndarray, right_N: np.ndarray, thresholds: Sequence[float] = THRESHOLDS) -> list[Kept]:
    """What is kept at each threshold at which anything is."""
    chances_N, right_N = np.asarray(chances_N, dtype=float), np.asarray(right_N, dtype=float)
    found = []
    for threshold in thresholds:
        kept = chances_N >= threshold
        if size := int(kept.sum()):
            low = _lower(int(right_N[kept].sum()), size)
            found.append(Kept(threshold, size / len(chances_N), float(right_N[kept].mean()), low))
    return found


def threshold_for(target: float, chances_N: np.ndarray, right_N: np.ndarray) -> Kept | None:
    """The lowest threshold at which the share of right answers is shown to reach `target`; None where none does."""
    best, few = None, min(_enough(target), len(chances_N))
    for each in coverage(chances_N, right_N):
        # How many are kept is known before it is known how many are right, so leaving a threshold out for it spoils no promise.
        if round(each.coverage * len(chances_N)) < few:
            continue
        if each.low < target:
            break
        best = each
    return best


def wilson(hits: float, size: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's interval of a share (1927)."""
    share, wide = hits / size, 1 + z * z / size
    middle = (share + z * z / (2 * size)) / wide
    reach = z / wide * np.sqrt(share * (1 - share) / size + z * z / (4 * size * size))
    return float(max(0.0, middle - reach)), float(min(1.0, middle + reach))


def _enough(target: float) -> int:
    """How many answers it takes to show a target with a share that lies halfway between it and 1."""
    size = FEWEST_KEPT
    while _lower(int((1 + target) / 2 * size), size) < target:
        size += max(1, size // 20)
    return size


def _lower(hits: int, size: int) -> float:
    """The exact one-sided lower bound of a share (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv

    return 0.0 if hits == 0 else float(betaincinv(hits, size - hits + 1, 1 - LEVEL))
