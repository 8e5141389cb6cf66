"""How far a run has come, and the learning rate that follows from it.

A budget is in steps, epochs, tokens or minutes; the schedule sees only the share of it that is spent. So a run of ten
minutes cools down on time, whatever the machine does.
"""

import math
from dataclasses import dataclass

from diptych.config import TrainSettings
from diptych.training.ramps import Batches, num_examples


@dataclass(frozen=True)
class Budget:
    """How long to train: exactly one of steps, tokens and seconds is set."""

    steps: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    examples: int | None = None
    """In epochs: the run shows so many examples, and its last step may be a partial one."""

    @classmethod
    def of(cls, settings: TrainSettings, count: int, batches: Batches) -> "Budget":
        """The budget that `settings` name over `count` examples; three epochs where they name none."""
        if settings.steps is not None:
            return cls(steps=settings.steps)
        if settings.tokens is not None:
            return cls(tokens=settings.tokens)
        if settings.minutes is not None:
            return cls(seconds=settings.minutes * 60)
        examples = num_examples(settings, count)
        return cls(steps=batches.steps_for(examples), examples=examples)

    def spent(self, steps: float, tokens: int, seconds: float) -> float:
        """The share of the budget that is used up, 1 or more when it is."""
        if self.steps is not None:
            return steps / self.steps
        if self.tokens is not None:
            return tokens / self.tokens
        assert self.seconds is not None
        return seconds / self.seconds

    def takes(self, step_seconds: float, step_tokens: int) -> float:
        """How many seconds all of it takes where a step of so many tokens takes so many seconds."""
        if self.seconds is not None:
            return self.seconds
        steps = self.tokens / max(1, step_tokens) if self.tokens is not None else self.steps or 0
        return steps * step_seconds


def lr_scale(spent: float, settings: TrainSettings) -> float:
    """The learning rate as a share of its peak when `spent` of the budget is used up.

    wsd: warm-up, a plateau, and a linear cooldown over the last `settings.cooldown` of the budget (Hu et al. 2024,
    "MiniCPM"; Hägele et al. 2024). cosine and linear fall from the end of the warm-up on.
    """
    spent = min(max(spent, 0.0), 1.0)
    if spent < settings.warmup:
        return spent / settings.warmup
    if settings.schedule == "constant":
        return 1.0
    start = max(settings.warmup, 1 - settings.cooldown) if settings.schedule == "wsd" else settings.warmup
    if spent <= start or start >= 1:
        return 1.0
    fallen = (spent - start) / (1 - start)
    left = (1 + math.cos(math.pi * fallen)) / 2 if settings.schedule == "cosine" else 1 - fallen
    return settings.final_lr + (1 - settings.final_lr) * left
