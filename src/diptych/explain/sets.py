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

# Shapes: M sets, U units.

RATIOS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""How much pairs may do beside single units."""
POWERS = (0.5, 1.0, 1.5)
"""How closely a unit's ρ follows what it was found to do."""
ROUNDS = 2
FLOOR = 0.1
"""No unit is believed to do less than this share of what units do on average."""
LARGEST = 0.95
JITTER, MUCH_JITTER = 1e-9, 1e-6


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
    x_MU = np.where(kept_MU, 1.0, -1.0)
    size = x_MU.shape[1]
    sums_M = kept_MU.sum(1)
    full, empty = float(scores_M[sums_M == size][0]), float(scores_M[sums_M == 0][0])
    centred_M = scores_M - (full + empty) / 2
    if not np.ptp(scores_M):
        return np.zeros(size)
    best = _best(x_MU, centred_M, np.ones(size), None)
    for _round in range(ROUNDS):
        done_U = np.abs(_shapley(best, x_MU))
        for power in POWERS:
            share_U = done_U**power
            share_U = np.maximum(share_U / max(share_U.mean(), 1e-300), FLOOR)
            best = _best(x_MU, centred_M, share_U / share_U.mean(), best)
    values_U = _shapley(best, x_MU)
    return values_U + (full - empty - values_U.sum()) / size


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
    # log(1 + ρ x x') is even plus x x' · artanh ρ, so the product over all units is one product of matrices.
    slope_U = np.arctanh(rho_U)
    covariance = np.exp((x_MU * slope_U) @ x_MU.T - slope_U.sum())
    try:
        root = np.linalg.cholesky(covariance + JITTER * np.eye(len(covariance)))
    except np.linalg.LinAlgError:
        # A covariance of single units and hardly anything else has nothing left for as many sets: it is believed less closely then.
        root = np.linalg.cholesky(covariance + MUCH_JITTER * np.eye(len(covariance)))
    weights_M = np.linalg.solve(root.T, np.linalg.solve(root, centred_M))
    scale = float(centred_M @ weights_M) / len(centred_M)
    evidence = -0.5 * len(centred_M) * np.log(max(scale, 1e-300)) - np.log(np.diag(root)).sum()
    return _Fit(float(evidence), rho_U, weights_M)


def _shapley(fit: _Fit, x_MU: np.ndarray) -> np.ndarray:
    """∫ over t of how the expected answer changes with each unit, when every other is there with probability t."""
    size = x_MU.shape[1]
    points, weights = np.polynomial.legendre.leggauss(size // 2 + 1)
    slope_MU = fit.rho_U * x_MU
    most = np.log1p(fit.rho_U).sum()
    values_U = np.zeros(size)
    for point, weight in zip(points, weights, strict=True):
        factors_MU = 1.0 + slope_MU * point
        products_M = np.exp(np.log(factors_MU).sum(1) - most)
        values_U += weight * ((fit.weights_M * products_M)[:, None] * slope_MU / factors_MU).sum(0)
    return values_U
