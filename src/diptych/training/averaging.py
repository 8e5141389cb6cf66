"""A running mean of the weights, which stands in for them wherever a model is looked at, kept or handed over.

Steps at a large learning rate wander around what they approach; the mean of the last ones is nearer to it (Polyak and Juditsky
1992). Training itself goes on from the weights, so a run without a mean and one with it take the same steps.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightMean:
    """The exponential mean of what a network learns; of sharded weights each rank keeps the mean of its own share.

    Attributes:
        means: by name; a weight that is not trained has none.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self._learning = {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}
        self.means: dict[str, Tensor] = {name: parameter.detach().clone() for name, parameter in self._learning.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step`, counted from 1.

        The first steps are forgotten faster, by (1 + step) / (10 + step), or the mean would stay near fresh weights for as many
        steps as it is long. It is a function of the step alone, so a resumed run needs no more than the means.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self._learning.items():
            self.means[name].lerp_(parameter, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has the means for weights inside of this, and afterwards its own again, bit for bit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def put(self) -> None:
        """Give the network the means for good."""
        for name, parameter in self._learning.items():
            parameter.copy_(self.means[name])

    @torch.no_grad()
    def restore(self, means: dict[str, Tensor]) -> None:
        """Go on from the means of a checkpoint."""
        for name, mean in self.means.items():
            mean.copy_(means[name])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._learning.items():
            own = parameter.detach().clone()
            parameter.copy_(self.means[name])
            self.means[name].copy_(own)
