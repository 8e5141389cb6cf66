"""LIME (Ribeiro et al. 2016): a linear model of the network around one text.

Variants are drawn as the authors' code draws them for texts: how many units go is uniform from 1 to all, then which. A variant weighs
√exp(-d²/25²) by its cosine distance d from the whole text, in hundredths, and ridge regression with strength 1 fits the answers.
"""

import numpy as np

from diptych.explain.method import Attribution
from diptych.explain.perturb import Subject
from diptych.streams import stream

WIDTH = 25.0
STRENGTH = 1.0


def lime(subject: Subject, budget: int, seed: int) -> Attribution:
    """The coefficients of the linear model; they do not add up to anything."""
    kept_MU = variants(subject.num_units, max(2, budget), seed)
    return Attribution(fit(kept_MU, subject(kept_MU)))


def variants(size: int, budget: int, seed: int) -> np.ndarray:
    """The whole text and `budget` - 1 variants of it: bool [M, U]."""
    draw = stream(seed, "lime")
    kept = np.ones((budget, size), dtype=bool)
    for row in kept[1:]:
        row[draw.permutation(size)[: int(draw.integers(1, size + 1))]] = False
    return kept


def fit(kept_MU: np.ndarray, scores_M: np.ndarray) -> np.ndarray:
    """The coefficients of a weighted ridge regression with an intercept: [U]."""
    distance_M = 100.0 * (1.0 - np.sqrt(kept_MU.mean(axis=1)))
    weights_M = np.sqrt(np.exp(-((distance_M / WIDTH) ** 2)))
    shares_M = weights_M / weights_M.sum()
    centred_MU = kept_MU - shares_M @ kept_MU
    products_UU = (centred_MU * weights_M[:, None]).T @ centred_MU
    products_UU[np.diag_indices_from(products_UU)] += STRENGTH
    return np.linalg.solve(products_UU, (centred_MU * weights_M[:, None]).T @ (scores_M - shares_M @ scores_M))
