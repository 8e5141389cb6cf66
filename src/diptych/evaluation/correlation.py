"""Spearman's and Pearson's correlation as sums over examples, so that intervals and paired differences come as all others do.

A correlation of ranks is no ratio of sums. Its influence function (Croux and Dehon 2010, eq. 3; here with ties) says how much each
example moves it; the value plus that influence, averaged, is the value, and resampling the average has its spread.
"""

import numpy as np

from diptych.evaluation.intervals import Counts, mean_of


def spearman_of(name: str, a_N: np.ndarray, b_N: np.ndarray) -> Counts:
    """Spearman's correlation of two columns; 0 where one of them is constant, since it then says nothing of the other."""
    a, b = np.asarray(a_N, dtype=float), np.asarray(b_N, dtype=float)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return mean_of(name, np.zeros(len(a)))
    r, s = _ranks(a), _ranks(b)
    both, var_r, var_s = (r * s).mean(), (r * r).mean(), (s * s).mean()
    value = both / np.sqrt(var_r * var_s)
    # An example's own product, and how it shifts the ranks of the others.
    on_both = _centred(r * s + _shift(a, s) + _shift(b, r))
    on_r, on_s = _centred(r * r + 2 * _shift(a, r)), _centred(s * s + 2 * _shift(b, s))
    influence = on_both / np.sqrt(var_r * var_s) - value / 2 * (on_r / var_r + on_s / var_s)
    return mean_of(name, value + influence)


def pearson_of(name: str, first_N: np.ndarray, second_N: np.ndarray) -> Counts:
    """Pearson's correlation; 0 where one side does not vary."""
    # Both sides are centred first, since sums of squares of large numbers cancel.
    x_N, y_N = _standard(first_N), _standard(second_N)
    rows = np.stack([np.ones(len(x_N)), x_N, y_N, x_N * x_N, y_N * y_N, x_N * y_N], axis=1)
    return Counts(name, rows, _correlation)


def _ranks(x: np.ndarray) -> np.ndarray:
    """The share of examples below each, ties by half, less one half: centred."""
    ordered = np.sort(x)
    below, up_to = np.searchsorted(ordered, x, "left"), np.searchsorted(ordered, x, "right")
    return (below + up_to) / (2 * len(x)) - 0.5


def _shift(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Σ_j k(x_i, x_j) weight_j / N with k = 1 where x_j is larger, 1/2 where it is equal: what example i adds to the ranks."""
    order = np.argsort(x, kind="stable")
    ordered = x[order]
    sums = np.concatenate([[0.0], np.cumsum(weight[order])])
    below, up_to = np.searchsorted(ordered, x, "left"), np.searchsorted(ordered, x, "right")
    return (sums[-1] - (sums[below] + sums[up_to]) / 2) / len(x)


def _centred(x: np.ndarray) -> np.ndarray:
    return x - x.mean()


def _standard(values_N: np.ndarray) -> np.ndarray:
    values_N = np.asarray(values_N, dtype=float)
    spread = values_N.std() if len(values_N) else 0.0
    return (values_N - values_N.mean()) / spread if spread > 0 else np.zeros(len(values_N))


def _correlation(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = np.moveaxis(np.asarray(sums, dtype=float), -1, 0)
    n = np.maximum(n, 1)
    spread = np.sqrt(np.maximum(0, xx - x * x / n) * np.maximum(0, yy - y * y / n))
    return np.divide(xy - x * y / n, spread, out=np.zeros_like(spread), where=spread > 1e-9)
