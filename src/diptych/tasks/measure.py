"""What a model's answers cost on a set of examples, for any task: sums and counts per example, never a mean of means.

The result does not depend on the size of the batches or on their order; training watches it, evaluation reports it.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from diptych.streams import permute
from diptych.tasks.task import Examples, Mixed, Place, Task

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


class Among(Protocol):
    """Several processes that share the work; see `training.ranks.Ranks`."""

    def share(self, pieces: Sequence[Any]) -> list[Any]: ...

    def number(self, piece: int) -> int: ...

    def gather(self, value: Any) -> list[Any]: ...


def measure(
    net: Any,
    task: Task,
    examples: Examples,
    *,
    batch_tokens: int = 8192,
    max_tokens: int | None = None,
    seed: int = 0,
    among: Among | None = None,
) -> Measured:
    """Ask `net` about `examples`, or about a fixed sample of them that holds `max_tokens` tokens.

    The model's mode and every random stream are left as they were. Of several processes `among` which the batches are shared,
    each gets the same answer.
    """
    device = next(net.parameters()).device
    was_training = net.training
    net.eval()
    groups = list(by_tokens(examples, _sample(examples, max_tokens, seed), batch_tokens))
    parts: list[tuple[int, _Part]] = []
    with torch.inference_mode():
        for piece, few in enumerate(among.share(groups) if among else groups):
            # One without a batch of its own looks at the first as well: sharded weights are gathered by all together.
            batch = task.collate(examples, few or groups[0]).to(device)
            terms = task.judge(task.forward(net, batch), batch)
            if few:
                totals = {name: term.total_B.double().tolist() for name, term in terms.items()}
                counts = {name: term.count_B.tolist() for name, term in terms.items()}
                parts.append((among.number(piece) if among else piece, (list(batch.keys), totals, counts, batch.num_tokens)))
    net.train(was_training)
    if among:
        parts = sorted(itertools.chain.from_iterable(among.gather(parts)), key=lambda part: part[0])
    return _joined([part for _number, part in parts])


_Part = tuple[list[int], dict[str, list[float]], dict[str, list[int]], int]
"""What one batch was measured as: keys, totals, counts and tokens."""


def _joined(parts: Sequence[_Part]) -> Measured:
    """The parts in a row."""
    keys = [key for some, *_rest in parts for key in some]
    totals: dict[str, list[float]] = {}
    counts: dict[str, list[int]] = {}
    for name in dict.fromkeys(name for _keys, some_totals, *_rest in parts for name in some_totals):
        # A batch of another kind asks nothing of this term.
        totals[name] = [value for some, some_totals, *_rest in parts for value in some_totals.get(name, [0.0] * len(some))]
        counts[name] = [value for some, _totals, some_counts, _tokens in parts for value in some_counts.get(name, [0] * len(some))]
    return Measured(
        np.array(keys, dtype=np.int64),
        {name: np.asarray(values) for name, values in totals.items()},
        {name: np.asarray(values) for name, values in counts.items()},
        sum(tokens for *_rest, tokens in parts),
    )


def by_tokens(examples: Examples, places: Sequence[Place], limit: int) -> Iterator[list[Place]]:
    """Consecutive places in groups of at most `limit` tokens, one place at the least; of one kind where there are several."""
    kinds = {place: examples.kind(place) if isinstance(examples, Mixed) else 0 for place in places}
    group: list[Place] = []
    used = 0
    for place in sorted(places, key=kinds.__getitem__):
        length = examples.num_tokens(place.index)
        if group and (used + length > limit or kinds[place] != kinds[group[0]]):
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
