"""A mean that hides any one client: what each changes is shortened to one length, and their sum gets noise in proportion to it.

DP-FedAvg (McMahan et al. 2018, "Learning Differentially Private Recurrent Language Models", algorithm 1): clients are drawn each by itself,
count alike, and the sum is divided by how many are expected, not by how many came. So all that a client has may be there or not, and
the weights tell it by no more than ε. The server itself sees what each sends; against it there is `secure.py`.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from diptych.ledger import Ledger
from diptych.streams import seed_for
from diptych.training.federation.server import Merging, rounded
from diptych.training.federation.update import Update, Values


class PrivateMean(Merging):
    """The updates of a round, shortened as they come; nothing but their sum is kept.

    Args:
        expected: how many clients are asked on average.
        clip: the length that a change is shortened to, all weights together.
        noise: the deviation of the noise, as a multiple of `clip`.
        key: what the noise follows from, with the round; whoever knows it can take it away.
    """

    def __init__(
        self, before: Values, round: int, asked: Collection[str], expected: float, clip: float, noise: float, key: int, ledger: Ledger
    ) -> None:
        super().__init__(before, round, asked, "equal", ledger)
        self.expected, self.clip, self.noise, self.key = expected, clip, noise, key

    def add(self, update: Update) -> None:
        changes = {name: value.detach().double() - self.before[name].double() for name, value in update.values.items()}
        length = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(change) for change in changes.values()])))
        shorter = min(1.0, self.clip / length) if length else 1.0
        for name, change in changes.items():
            part = change.mul_(shorter)
            self._sums[name] = part if name not in self._sums else self._sums[name].add_(part)

    def mean(self) -> dict[str, Tensor]:
        """What the next round starts from; noise comes to it even where nobody sent anything."""
        draw = torch.Generator().manual_seed(seed_for(self.key, "noise", self.round))
        found = {}
        for name, value in self.before.items():
            total = self._sums.get(name, torch.zeros_like(value, dtype=torch.float64))
            noise = torch.empty(value.shape, dtype=torch.float64).normal_(generator=draw).to(total.device)
            found[name] = rounded(value.double() + (total + noise * (self.noise * self.clip)) / self.expected, value)
        return found
