"""How well somebody tells, by a number for each text, which texts a model was trained on: ROC, its low end, and what that says of ε.

An average over all texts hides what matters: whether a few of them can be told surely (Carlini et al. 2022, "Membership inference
attacks from first principles"). So the share that is found at a hundredth of false alarms stands beside the area.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta, norm, rankdata

from diptych.streams import stream

# Shapes: M texts that were trained on, O others.

FALSE_ALARMS = 0.01
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number and the interval that holds it with 95 % confidence, where texts are drawn by themselves."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        return {"value": round(self.value, 6), "low": round(self.low, 6), "high": round(self.high, 6)}

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Guessing:
    """What one way of guessing finds."""

    way: str
    area: Estimate
    """Under the ROC: the chance that of a text that was trained on and another the right one is picked."""
    found: Estimate
    """The share of the texts trained on that is found with at most a hundredth of false alarms."""
    alarms: Estimate
    """The false alarms at that threshold."""
    epsilon: float
    """With 95 % confidence no (ε, δ) below this can be true of the training, texts taken for independent; 0 says nothing."""
    curve: tuple[tuple[float, float], ...]
    """(false alarms, found) from the strictest threshold on."""
    num_members: int
    num_others: int

    def to_json(self) -> dict[str, Any]:
        numbers = {"area": self.area.to_json(), "tpr_at_1_percent_fpr": self.found.to_json(), "fpr": self.alarms.to_json()}
        counts = {"epsilon_at_least": round(self.epsilon, 4), "members": self.num_members, "others": self.num_others}
        return {**numbers, **counts, "roc": [[round(x, 5), round(y, 5)] for x, y in self.curve]}


def guess(way: str, members_M: np.ndarray, others_O: np.ndarray, *, delta: float, seed: int = 0) -> Guessing:
    """
    Args:
        members_M, others_O: for each text a number that is larger the more it looks trained on.
    """
    threshold = float(np.sort(others_O)[::-1][int(FALSE_ALARMS * len(others_O))])
    hits, alarms = int((members_M > threshold).sum()), int((others_O > threshold).sum())
    return Guessing(
        way,
        area(members_M, others_O),
        share(hits, len(members_M)),
        share(alarms, len(others_O)),
        least_epsilon(members_M, others_O, delta, seed=seed),
        curve(members_M, others_O),
        len(members_M),
        len(others_O),
    )


def share(count: int, total: int, level: float = LEVEL) -> Estimate:
    """A share with the interval of Clopper and Pearson (1934), which is never too narrow."""
    rest = (1 - level) / 2
    low = float(beta.ppf(rest, count, total - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - rest, count + 1, total - count)) if count < total else 1.0
    return Estimate(count / total, low, high)


def area(members_M: np.ndarray, others_O: np.ndarray) -> Estimate:
    """The area under the ROC with the interval of DeLong et al. (1988), by ranks (Sun and Xu 2014)."""
    M, O = len(members_M), len(others_O)
    both = rankdata(np.concatenate([members_M, others_O]))
    of_members = (both[:M] - rankdata(members_M)) / O
    of_others = 1 - (both[M:] - rankdata(others_O)) / M
    value = float(of_members.mean())
    width = float(norm.ppf((1 + LEVEL) / 2)) * math.sqrt(of_members.var(ddof=1) / M + of_others.var(ddof=1) / O)
    return Estimate(value, max(0.0, value - width), min(1.0, value + width))


def curve(members_M: np.ndarray, others_O: np.ndarray, points: int = 200) -> tuple[tuple[float, float], ...]:
    """(false alarms, found) at thresholds that are spread over both."""
    every = np.sort(np.unique(np.concatenate([members_M, others_O])))[::-1]
    thresholds = every[np.unique(np.linspace(0, len(every) - 1, points).astype(int))]
    members, others = np.sort(members_M), np.sort(others_O)
    found = 1 - np.searchsorted(members, thresholds) / len(members)
    alarms = 1 - np.searchsorted(others, thresholds) / len(others)
    return ((0.0, 0.0), *zip(alarms.tolist(), found.tolist(), strict=True))


def least_epsilon(members_M: np.ndarray, others_O: np.ndarray, delta: float, *, seed: int = 0) -> float:
    """The largest ε that can be ruled out below: (ε, δ) privacy allows no test with TPR > e^ε FPR + δ (Kairouz et al. 2015).

    The threshold is chosen on one half of the texts and judged on the other, so that it is not picked by luck.
    """
    halves = [np.array_split(stream(seed, "halves", number).permutation(x), 2) for number, x in enumerate((members_M, others_O))]
    (chosen_M, judged_M), (chosen_O, judged_O) = halves
    thresholds = np.unique(np.quantile(np.concatenate([chosen_M, chosen_O]), np.linspace(0, 1, 101)))
    tests = [(float(t), is_above, is_swapped) for t in thresholds for is_above in (True, False) for is_swapped in (False, True)]
    return _epsilon(judged_M, judged_O, delta, *max(tests, key=lambda test: _epsilon(chosen_M, chosen_O, delta, *test)))


def _epsilon(members: np.ndarray, others: np.ndarray, delta: float, threshold: float, is_above: bool, is_swapped: bool) -> float:
    """By how often a text lies above a threshold, or not above it: among members for others, or, swapped, the other way round."""
    counts = [int(((x > threshold) == is_above).sum()) for x in (members, others)]
    of_members, of_others = (share(count, len(x)) for count, x in zip(counts, (members, others), strict=True))
    often, seldom = (of_others, of_members) if is_swapped else (of_members, of_others)
    return max(0.0, math.log(max(often.low - delta, 1e-300) / max(seldom.high, 1e-300)))
