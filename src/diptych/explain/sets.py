"""Shapley values from few evaluations: a Gaussian process that has learnt what sets of units make of the answer.

KernelSHAP fits one number a unit, so whatever units do together is noise to it. In texts a few words do much together ("not", "good"),
and most nothing. Here the answer to a set is a smooth function of it: with x = 1 for a unit that is there and -1 for one that is gone,
the covariance of two sets is Π_u (1 + ρ_u x_u x'_u), which is every product of units, weighed by the product of their ρ: single units
most, pairs less, many together hardly. It goes through all evaluations, so that with all sets the values are exact. ρ is chosen by the
marginal likelihood, first the same for all units, then the larger the more a unit was found to do: strong units share, weak ones do
not.

The Shapley value of such a function is an integral over the share of units that are there (Owen 1972), of polynomials, so a few Gauss
points give it exactly.
"""

from dataclasses import dataclass

import numpy as np

from diptych.streams import stream

# Shapes: M sets, U units, C sets that may be asked next.

RATIOS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""How much pairs may do beside single units."""
POWERS = (0.5, 1.0, 1.5)
"""How closely a unit's ρ follows what it was found to do."""
ROUNDS = 2
FLOOR = 0.1
"""No unit is believed to do less than this share of what units do on average."""
LARGEST = 0.95
JITTER, MUCH_JITTER = 1e-9, 1e-6
KNOWN = 1e-7
"""A set whose variance is less is as good as asked."""
POOL = 600
"""The next sets are chosen among so many."""


@dataclass(frozen=True)
class _Fit:
    """A covariance, and the weights of the evaluated sets in what it predicts."""

    evidence: float
    rho_U: np.ndarray
    weights_M: np.ndarray


def values_of_sets(kept_MU: np.ndarray, scores_M: np.ndarray) -> np.ndarray:
    """The Shapley values of the function of sets that goes through these scores: [U].

    Args:
        kept_MU: different sets, those of all units and of none among them; the values add up to the difference of these two.
    """
    size = kept_MU.shape[1]
    full, empty = _ends(kept_MU, scores_M)
    if not np.ptp(scores_M):
        return np.zeros(size)
    x_MU = np.where(kept_MU, 1.0, -1.0)
    values_U = _shapley(_learn(x_MU, scores_M - (full + empty) / 2), x_MU)
    return values_U + (full - empty - values_U.sum()) / size


def next_sets(kept_MU: np.ndarray, scores_M: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The sets whose scores would make the values most certain, given what is known: bool [at most `count`, U].

    One after the other, the one that takes most from the variance of the values, summed over the units; which one that is does not
    depend on the scores that are not known yet (a Gaussian process' variance never does), so that all can be asked together.
    """
    pool_CU = _unasked(kept_MU, seed)
    if not len(pool_CU) or not np.ptp(scores_M):
        return pool_CU[:count]
    x_MU, pool_x_CU = (np.where(rows, 1.0, -1.0) for rows in (kept_MU, pool_CU))
    fit = _learn(x_MU, scores_M - sum(_ends(kept_MU, scores_M)) / 2)
    root = np.linalg.inv(_root(_covariance(x_MU, x_MU, fit.rho_U)))
    seen_MC = root @ _covariance(x_MU, pool_x_CU, fit.rho_U)
    left_CC = _covariance(pool_x_CU, pool_x_CU, fit.rho_U) - seen_MC.T @ seen_MC
    with_values_UC = _with_values(pool_x_CU, fit.rho_U).T - (root @ _with_values(x_MU, fit.rho_U)).T @ seen_MC
    chosen: list[int] = []
    for _place in range(min(count, len(pool_CU))):
        variance_C = left_CC.diagonal()
        gain_C = np.where(variance_C > KNOWN, (with_values_UC**2).sum(0) / np.maximum(variance_C, KNOWN), -1.0)
        gain_C[chosen] = -np.inf
        best = int(gain_C.argmax())
        chosen.append(best)
        column_C, own = left_CC[:, best].copy(), max(float(left_CC[best, best]), KNOWN)
        with_values_UC = with_values_UC - np.outer(with_values_UC[:, best], column_C) / own
        left_CC = left_CC - np.outer(column_C, column_C) / own
    return pool_CU[chosen]


def _unasked(kept_MU: np.ndarray, seed: int) -> np.ndarray:
    """Sets that were not asked yet, drawn with every size as probable as any other; all of them where these are few."""
    size = kept_MU.shape[1]
    known = {row.tobytes() for row in kept_MU}
    draw = stream(seed, "sets", len(kept_MU))
    if 2**size <= POOL:
        rows = (np.arange(2**size)[:, None] >> np.arange(size) & 1).astype(bool)
    else:
        rows = draw.random((POOL, size)).argsort(1) < draw.integers(1, size, POOL)[:, None]
    fresh = {row.tobytes(): row for row in rows if row.tobytes() not in known}
    found = np.array(list(fresh.values()), dtype=bool).reshape(-1, size)
    return found[draw.permutation(len(found))]


def _ends(kept_MU: np.ndarray, scores_M: np.ndarray) -> tuple[float, float]:
    """The scores of all units and of none."""
    sums_M = kept_MU.sum(1)
    return float(scores_M[sums_M == kept_MU.shape[1]][0]), float(scores_M[sums_M == 0][0])


def _learn(x_MU: np.ndarray, centred_M: np.ndarray) -> _Fit:
    best = _best(x_MU, centred_M, np.ones(x_MU.shape[1]), None)
    for _round in range(ROUNDS):
        done_U = np.abs(_shapley(best, x_MU))
        for power in POWERS:
            share_U = done_U**power
            share_U = np.maximum(share_U / max(share_U.mean(), 1e-300), FLOOR)
            best = _best(x_MU, centred_M, share_U / share_U.mean(), best)
    return best


def _best(x_MU: np.ndarray, centred_M: np.ndarray, share_U: np.ndarray, best: _Fit | None) -> _Fit:
    """The likeliest of `best` and the fits with these shares."""
    size = max(2, x_MU.shape[1])
    for ratio in RATIOS:
        # Pairs have (U - 1)/2 · ρ of what single units have.
        found = _fit(x_MU, centred_M, np.minimum(LARGEST, 2 * ratio / (size - 1) * share_U))
        if best is None or found.evidence > best.evidence:
            best = found
    assert best is not None
    return best


def _fit(x_MU: np.ndarray, centred_M: np.ndarray, rho_U: np.ndarray) -> _Fit:
    """The process with this covariance, its scale at its best."""
    root = _root(_covariance(x_MU, x_MU, rho_U))
    weights_M = np.linalg.solve(root.T, np.linalg.solve(root, centred_M))
    scale = float(centred_M @ weights_M) / len(centred_M)
    evidence = -0.5 * len(centred_M) * np.log(max(scale, 1e-300)) - np.log(np.diag(root)).sum()
    return _Fit(float(evidence), rho_U, weights_M)


def _covariance(x_MU: np.ndarray, other_CU: np.ndarray, rho_U: np.ndarray) -> np.ndarray:
    """Of the answers to some sets with those to others, 1 of each with itself: [M, C]."""
    # log(1 + ρ x x') is even plus x x' · artanh ρ, so the product over all units is one product of matrices.
    slope_U = np.arctanh(rho_U)
    return np.exp((x_MU * slope_U) @ other_CU.T - slope_U.sum())


def _root(covariance: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.cholesky(covariance + JITTER * np.eye(len(covariance)))
    except np.linalg.LinAlgError:
        # A covariance of single units and hardly anything else has nothing left for as many sets: it is believed less closely then.
        return np.linalg.cholesky(covariance + MUCH_JITTER * np.eye(len(covariance)))


def _shapley(fit: _Fit, x_MU: np.ndarray) -> np.ndarray:
    """The values of what was learnt: [U]."""
    return fit.weights_M @ _with_values(x_MU, fit.rho_U)


def _with_values(x_MU: np.ndarray, rho_U: np.ndarray) -> np.ndarray:
    """The covariance of each set's answer with each unit's value: [M, U].

    ∫ over t of how the expected answer changes with a unit, when every other is there with probability t.
    """
    points, weights = np.polynomial.legendre.leggauss(x_MU.shape[1] // 2 + 1)
    slope_MU = rho_U * x_MU
    most = np.log1p(rho_U).sum()
    found_MU = np.zeros(x_MU.shape)
    for point, weight in zip(points, weights, strict=True):
        factors_MU = 1.0 + slope_MU * point
        products_M = np.exp(np.log(factors_MU).sum(1) - most)
        found_MU += (weight * products_M)[:, None] * slope_MU / factors_MU
    return found_MU
