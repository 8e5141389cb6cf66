"""Which units a private step shows: each by itself with the same probability (Poisson sampling), so a step may show more or fewer, or none.

Accountants count on it: whoever is drawn says nothing of anybody else. Like `Order` it has no state; it is keyed by the run's secret and
the step.
"""

from dataclasses import dataclass

import numpy as np

from diptych.streams import uniforms
from diptych.tasks.task import Place


@dataclass(frozen=True)
class Sampled:
    """An endless sequence of samples."""

    num_units: int
    rate: float
    """The probability of each unit."""
    key: int
    seed: int
    """Of all chance in what is shown, such as masks; which is no secret."""
    limit: int | None = None
    """So many steps may be taken: what the privacy budget allows."""
    may_be_empty = True

    def places(self, step: int, spent: float = 1.0) -> list[Place]:
        """The units of step `step`, counted from 0; what each of them shows is drawn anew in every step."""
        chosen = np.flatnonzero(uniforms(np.arange(self.num_units), self.key, "sample", step) < self.rate)
        return [Place(self.seed, step, index, spent) for index in chosen.tolist()]

    def spent(self, step: int) -> float:
        """The share of the privacy budget that is used up before a step."""
        return 0.0 if self.limit is None else step / self.limit
