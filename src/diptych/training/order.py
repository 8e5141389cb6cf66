"""Which examples a step shows: a keyed permutation of the index, so that resuming a run is knowing its step number.

There is no generator state. The order depends on the seed and the position alone, not on workers, ranks, interruptions or
how often the held-out part was looked at.
"""

from dataclasses import dataclass

import numpy as np

from diptych.streams import permute
from diptych.tasks.task import Place
from diptych.training.ramps import Batches


@dataclass(frozen=True)
class Order:
    """An endless sequence of epochs, each a permutation of its own, cut into steps."""

    num_examples: int
    batches: Batches
    seed: int
    limit: int | None = None
    """The sequence ends after this many examples, so that the last step may be a partial one."""

    may_be_empty = False

    def spent(self, step: int) -> float:
        """The share that is used up before a step of a budget of the order's own; it has none."""
        return 0.0

    def places(self, step: int, spent: float = 1.0) -> list[Place]:
        """The examples of step `step`, counted from 0, at which `spent` of the budget is used up; empty past the limit."""
        start, stop = self.batches.before(step), self.batches.before(step + 1)
        if self.limit is not None:
            stop = min(stop, self.limit)
        places = []
        while start < stop:
            epoch, first = divmod(start, self.num_examples)
            last = min(self.num_examples, first + stop - start)
            indices = permute(np.arange(first, last), self.num_examples, self.seed, "order", epoch)
            places.extend(Place(self.seed, epoch, index, spent) for index in indices.tolist())
            start += last - first
        return places
