"""What a method gives: a number for each unit, how much of the answer is that unit's doing."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diptych.explain.perturb import Subject


@dataclass(frozen=True)
class Attribution:
    """The values of the units, [U].

    Attributes:
        base: what the answer is without the units, where the values add up to the rest of it; None where nothing says so.
        error: how far from adding up they are, as a share of what there is to explain, where the method comes close only.
    """

    values: np.ndarray
    base: float | None = None
    error: float | None = None


Method = Callable[[Subject, int, int], Attribution]
"""(subject, how many evaluations it may take, seed) -> the values."""
