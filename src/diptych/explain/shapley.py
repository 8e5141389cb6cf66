"""Shapley values: exact where every set of units can be asked, by regression (KernelSHAP) or by what was learnt from the sets otherwise.

KernelSHAP (Lundberg and Lee 2017), here with paired coalitions (Covert and Lee 2021): the Shapley value of a unit is what it adds to
the answer, averaged over all orders in which the units can come. It is also the solution of a least-squares problem over all sets of
units, weighted by (U - 1) / (C(U, s) s (U - s)) for sets of s, whose values add up to f(all) - f(none). With as many evaluations as
there are sets the result is exact; with fewer, whole sizes of sets are taken first, where the weight of a set is largest (one unit, all
but one, two …), and the rest is drawn without repetition, each set with its complement, whose errors cancel.
"""

from itertools import combinations
from math import comb

import numpy as np

from diptych.explain.method import Attribution
from diptych.explain.perturb import Subject
from diptych.explain.sets import next_sets, values_of_sets
from diptych.streams import stream

ROUNDS = 2
"""Half of the sets are drawn; the others are chosen by what the first have taught, in so many goes."""
FEWEST_SETS, MOST_SETS = 16, 1024
"""A process has nothing to learn from fewer sets; over more it takes longer than it saves, and regression is good with so many."""


def shapley(subject: Subject, budget: int, seed: int) -> Attribution:
    """The values; they add up to f(all) - f(none) whatever the budget."""
    size = subject.num_units
    if size == 1 or 2**size <= budget or not FEWEST_SETS <= budget <= MOST_SETS:
        return kernel_shap(subject, budget, seed)
    kept_MU, _weights = coalitions(size, budget // 2 - 2, seed)
    kept_MU = np.concatenate([np.ones((1, size), bool), np.zeros((1, size), bool), kept_MU])
    for rounds_left in range(ROUNDS, 0, -1):
        count = (budget - len(kept_MU)) // rounds_left
        kept_MU = np.concatenate([kept_MU, next_sets(kept_MU, subject(kept_MU), count, seed)])
    return Attribution(values_of_sets(kept_MU, subject(kept_MU)), subject.empty)


def kernel_shap(subject: Subject, budget: int, seed: int) -> Attribution:
    """The values by regression; they add up alike."""
    size = subject.num_units
    full, empty = subject.full, subject.empty
    if size == 1:
        return Attribution(np.array([full - empty]), empty)
    kept_MU, weights_M = coalitions(size, max(2, budget - 2), seed)
    return Attribution(solve(kept_MU, weights_M, subject(kept_MU) - empty, full - empty), empty)


def coalitions(size: int, budget: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sets of units, neither none nor all: bool [M, U], and the weight of each.

    Args:
        size: units, at least 2.
        budget: M at most.
    """
    rows: list[np.ndarray] = []
    weights: list[float] = []
    sizes = list(range(1, size // 2 + 1))
    # The kernel's weight of all sets of a size and of the size of their complements.
    mass = {few: (size - 1) / (few * (size - few)) * (2 if 2 * few < size else 1) for few in sizes}
    left = budget
    while sizes:
        few = sizes[0]
        count = comb(size, few) * (2 if 2 * few < size else 1)
        if count > left:
            break
        for chosen in combinations(range(size), few):
            kept = np.isin(np.arange(size), chosen)
            pair = [kept, ~kept] if 2 * few < size else [kept]
            rows += pair
            weights += [mass[few] / count] * len(pair)
        left -= count
        sizes.pop(0)
    if sizes and left > 1:
        drawn = _draw(size, sizes, [mass[few] for few in sizes], left, seed)
        share = sum(mass[few] for few in sizes) / sum(drawn.values())
        rows += [np.frombuffer(key, dtype=bool) for key in drawn]
        weights += [count * share for count in drawn.values()]
    return np.array(rows), np.array(weights)


def _draw(size: int, sizes: list[int], mass: list[float], budget: int, seed: int) -> dict[bytes, int]:
    """Different sets of these sizes with their complements, and how often each was drawn."""
    draw = stream(seed, "coalitions")
    chances = np.array(mass) / sum(mass)
    found: dict[bytes, int] = {}
    # A set that comes again weighs more and costs nothing; there is an end to that where few sets are left.
    for _try in range(4 * budget):
        if len(found) + 2 > budget:
            break
        kept = np.zeros(size, dtype=bool)
        kept[draw.permutation(size)[: sizes[int(draw.choice(len(sizes), p=chances))]]] = True
        for each in (kept, ~kept):
            found[each.tobytes()] = found.get(each.tobytes(), 0) + 1
    return found


def solve(kept_MU: np.ndarray, weights_M: np.ndarray, gains_M: np.ndarray, total: float) -> np.ndarray:
    """The values φ that fit Σ_{u in set} φ_u to the gain of each set, weighted, among those that add up to `total`: [U].

    The last value is `total` less the others, which takes the condition out of the problem.
    """
    last_M = kept_MU[:, -1].astype(np.float64)
    rest_MU = kept_MU[:, :-1] - last_M[:, None]
    root_M = np.sqrt(weights_M)
    found, *_rest = np.linalg.lstsq(rest_MU * root_M[:, None], (gains_M - last_M * total) * root_M, rcond=None)
    return np.append(found, total - found.sum())
