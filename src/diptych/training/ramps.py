"""What grows while a run goes on: the examples of a step, and the length of the texts.

Both are functions of the place in the run, so nothing has to be kept for a resumed one. GPT-BERT (Charpentier and Samuel 2024)
begins with a quarter of its batch and of its context.
"""

import functools
import itertools
import math
from dataclasses import dataclass, replace

import numpy as np

from diptych.config import TrainSettings
from diptych.packed import Packed
from diptych.tasks.task import Examples

SAMPLED = 1000
"""From so many examples it is known how many tokens one has, where a budget is in tokens."""


@dataclass(frozen=True)
class Batches:
    """How many examples each step shows: `batch_size`, after `ramp_steps` over which it grows from the share `start`."""

    batch_size: int
    start: float = 1.0
    ramp_steps: int = 0

    @classmethod
    def of(cls, settings: TrainSettings, examples: Examples, batch_size: int) -> "Batches":
        """The batches of a run with these settings over these examples."""
        ramp = settings.batch_ramp
        if ramp is None:
            return cls(batch_size)
        # The mean step, as a share of a whole one: half of the way up while it grows, whole afterwards.
        mean = 1 - ramp.until * (1 - ramp.start) / 2
        if settings.steps is not None:
            steps: float = settings.steps
        elif settings.tokens is not None:
            steps = settings.tokens / mean_tokens(examples) / (mean * batch_size)
        else:
            steps = num_examples(settings, len(examples)) / (mean * batch_size)
        return cls(batch_size, ramp.start, max(1, round(ramp.until * steps)))

    def before(self, step: int) -> int:
        """How many examples were shown before step `step`, counted from 0."""
        over = step - self.ramp_steps
        if over >= 0:
            return _starts(self)[-1] + over * self.batch_size
        return _starts(self)[step]

    def steps_for(self, examples: int) -> int:
        """How many steps show so many examples; the last one may be a partial one."""
        starts = _starts(self)
        if examples > starts[-1]:
            return self.ramp_steps + math.ceil((examples - starts[-1]) / self.batch_size)
        return next(step for step, start in enumerate(starts) if start >= examples)


@functools.lru_cache(maxsize=16)
def _starts(batches: Batches) -> list[int]:
    """How many examples were shown before each step of the ramp, and before the first one after it."""
    shares = (batches.start + (1 - batches.start) * step / batches.ramp_steps for step in range(batches.ramp_steps))
    rows = (max(1, round(share * batches.batch_size)) for share in shares)
    return [0, *itertools.accumulate(rows)]


def num_examples(settings: TrainSettings, count: int) -> int:
    """How many examples a budget in epochs shows of `count`; three epochs where no budget is named."""
    return max(1, round((settings.epochs or 3) * count))


def mean_tokens(examples: Examples) -> float:
    """Tokens of an example, by a sample that is spread evenly."""
    some = np.linspace(0, len(examples) - 1, min(SAMPLED, len(examples))).astype(int)
    return max(1.0, float(np.mean([examples.num_tokens(int(index)) for index in some])))


def longest_piece(settings: TrainSettings, spent: float) -> int | None:
    """How long texts may be when `spent` of the budget is used up; None for as long as they are."""
    return next((stage.length for stage in settings.length_ramp or () if spent < stage.until), None)


def in_pieces(texts: Packed, longest: int) -> Packed:
    """The same tokens, of which each sees at most `longest` of its text; none is left out."""
    lengths = []
    for length in texts.lengths:
        lengths += [longest] * (length // longest) + [length % longest] * (length % longest > 0)
    return replace(texts, lengths=tuple(lengths))
