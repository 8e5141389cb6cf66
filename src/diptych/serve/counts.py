"""What the engine counts of itself; `metrics.py` shows it to whoever may look."""

from bisect import bisect_left
from dataclasses import dataclass, field

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)


@dataclass
class Spread:
    """How many values were at most so large, and their sum."""

    bounds: tuple[float, ...] = SECONDS
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@dataclass
class Counts:
    """Numbers that only grow, but for those of now. One thread writes them; a reader may be a step behind."""

    prompt_tokens: int = 0
    kept_tokens: int = 0
    """Of the prompts' tokens, those that were found read."""
    new_tokens: int = 0
    steps: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    """By how they ended."""
    jobs: int = 0
    first_token: Spread = field(default_factory=Spread)
    """Seconds from asking to the first token."""
    between_tokens: Spread = field(default_factory=Spread)
    prefix_bytes: int = 0

    def end(self, how: str) -> None:
        self.answers[how] = self.answers.get(how, 0) + 1
