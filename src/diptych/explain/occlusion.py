"""Occlusion, or leave one out: what the answer loses when one unit alone is gone (Zeiler and Fergus 2014; Li et al. 2016)."""

import numpy as np

from diptych.explain.method import Attribution
from diptych.explain.perturb import Subject


def occlusion(subject: Subject, budget: int, seed: int) -> Attribution:
    """f(all) - f(all but u) for each unit: as many evaluations as units, and one. Nothing says that the values add up."""
    size = subject.num_units
    return Attribution(subject.full - subject(~np.eye(size, dtype=bool)))
