"""What a server makes of the updates of a round: a mean of those that can be used, and a name for each that cannot.

A client may be gone, broken or lying. Nothing of an update is used before all of it was looked at, and whoever is left out is
named in the ledger.
"""

from collections.abc import Collection, Mapping
from typing import Literal

import torch
from torch import Tensor

from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.training.federation.update import Update, Values

STAGE = mark("federation")
LOST = mark("clients that did not answer, left out")
MOST_EXAMPLES = 2**29
"""So many times a float32 is still exact in float64, so that the mean over one client is what it sent."""
Weighting = Literal["examples", "equal"]


class Merging:
    """The updates of one round, taken one at a time; nothing but their sum is kept.

    Args:
        before: what the round started from.
        asked: the names of the clients that were asked.
        weighting: by "examples" a client counts as much as it has examples (McMahan et al. 2017), or all count alike ("equal").
    """

    def __init__(
        self, before: Values, round: int, asked: Collection[str], weighting: Weighting = "examples", ledger: Ledger | None = None
    ) -> None:
        self.before, self.round, self.asked, self.weighting = before, round, set(asked), weighting
        self.ledger = Ledger() if ledger is None else ledger
        self.taken: list[str] = []
        self._answered: set[str] = set()
        self._weight = 0
        self._sums: dict[str, Tensor] = {}

    def take(self, update: Update) -> bool:
        """Add an update to the mean, or leave it out and say whose it was and why; whether it was taken."""
        why = self.why_not(update)
        self._answered.add(update.client)
        if why is not None:
            self.leave_out(update.client, why)
            return False
        self.add(update)
        self.taken.append(update.client)
        return True

    def add(self, update: Update) -> None:
        """Add an update that was found usable to the sum."""
        weight = update.num_examples if self.weighting == "examples" else 1
        for name, value in update.values.items():
            part = value.detach().double() * weight
            self._sums[name] = part if name not in self._sums else self._sums[name].add_(part)
        self._weight += weight

    def leave_out(self, client: str, why: str) -> None:
        """Count a client of this round as left out."""
        self.ledger.add(STAGE, why, where=client)

    def why_not(self, update: Update) -> str | None:
        """Why an update cannot be used, None where it can."""
        if update.client not in self.asked:
            return mark("updates of somebody who was not asked, left out")
        if update.round != self.round:
            return mark("updates of another round, left out")
        if update.client in self._answered:
            return mark("second updates of a client in one round, left out")
        if not 0 < update.num_examples < MOST_EXAMPLES:
            return mark("updates from no number of examples, left out")
        return why_not_like(update.values, self.before)

    def mean(self) -> dict[str, Tensor]:
        """What the next round starts from: the mean of what was taken, in the types that it had before.

        Where every client that was taken sent the same, that is what comes out, to the last bit.
        """
        assert self._weight, "a mean of nothing"
        return {name: rounded(value / self._weight, self.before[name]) for name, value in self._sums.items()}


def why_not_like(values: Values, before: Mapping[str, Tensor]) -> str | None:
    """Why some values cannot stand in the place of others: other names, other shapes, or what is no number."""
    if values.keys() != before.keys():
        return mark("updates of other weights, left out")
    if any(value.shape != before[name].shape or not value.is_floating_point() for name, value in values.items()):
        return mark("updates of another shape, left out")
    if not all(bool(torch.isfinite(value).all()) for value in values.values()):
        return mark("updates that are no numbers, left out")
    return None


def rounded(value: Tensor, like: Tensor) -> Tensor:
    """A float64 value as the type and on the device of another."""
    return value.to(device=like.device, dtype=like.dtype)
