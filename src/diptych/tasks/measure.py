"""What a model's answers cost on a set of examples, for any task: sums and counts per example, never a mean of means.

The result does not depend on the size of the batches or on their order; training watches it, evaluation reports it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from diptych.streams import permute
from diptych.tasks.task import Examples, Place, Task

EVALUATION = -1
"""The epoch of every evaluation: masks and pairs are drawn alike each time."""


@dataclass
class Measured:
    """Sums by term of the loss, one entry per document or row that was looked at."""

    keys: np.ndarray
    totals: dict[str, np.ndarray]
    counts: dict[str, np.ndarray]
    num_tokens: int

    def mean(self, term: str) -> float:
        """The sum over all examples divided by the number of all targets; NaN where there is none."""
        count = self.counts[term].sum()
        return float(self.totals[term].sum() / count) if count else float("nan")

    def standard_error(self, term: str) -> float:
        """Of `mean`, as a ratio of sums over examples drawn at random (Cochran 1977, eq. 6.13)."""
        rest = self.totals[term] - self.mean(term) * self.counts[term]
        return float(np.sqrt(np.square(rest).sum()) / max(1, self.counts[term].sum()))


def measure(
    net: Any, task: Task, examples: Examples, *, batch_tokens: int = 8192, max_tokens: int | None = None, seed: int = 0
) -> Measured:
    """Ask `net` about `examples`, or about a fixed sample of them that holds `max_tokens` tokens.

    The model's mode and every random stream are left as they were.
    """
    device = next(net.parameters()).device
    was_training = net.training
    net.eval()
    totals: dict[str, list[np.ndarray]] = {}
    counts: dict[str, list[np.ndarray]] = {}
    keys: list[tuple[int, ...]] = []
    num_tokens = 0
    places = _sample(examples, max_tokens, seed)
    with torch.inference_mode():
        for few in by_tokens(examples, places, batch_tokens):
            batch = task.collate(examples, few).to(device)
            outputs = task.forward(net, batch)
            keys.append(batch.keys)
            num_tokens += batch.num_tokens
            for name, term in task.judge(outputs, batch).items():
                totals.setdefault(name, []).append(term.total_B.double().cpu().numpy())
                counts.setdefault(name, []).append(term.count_B.cpu().numpy())
    net.train(was_training)
    flat_keys = np.concatenate([np.asarray(some, dtype=np.int64) for some in keys]) if keys else np.empty(0, np.int64)
    return Measured(
        flat_keys,
        {name: np.concatenate(parts) for name, parts in totals.items()},
        {name: np.concatenate(parts) for name, parts in counts.items()},
        num_tokens,
    )


def by_tokens(examples: Examples, places: Sequence[Place], limit: int) -> Iterator[list[Place]]:
    """Consecutive places in groups of at most `limit` tokens, one place at the least."""
    group: list[Place] = []
    used = 0
    for place in places:
        length = examples.num_tokens(place.index)
        if group and used + length > limit:
            yield group
            group, used = [], 0
        group.append(place)
        used += length
    if group:
        yield group


def _sample(examples: Examples, max_tokens: int | None, seed: int) -> list[Place]:
    size = len(examples)
    order = permute(np.arange(size), size, seed, "evaluation") if max_tokens is not None and size else np.arange(size)
    places, used = [], 0
    for index in order.tolist():
        if max_tokens is not None and places and used >= max_tokens:
            break
        places.append(Place(seed, EVALUATION, index))
        used += examples.num_tokens(index)
    return sorted(places, key=lambda place: place.index)
