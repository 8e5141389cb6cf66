"""What goes to and fro between a server and its clients: named tensors, and who trained them on how much in which round."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from diptych.training.checkpoint import optimizer_tensors

Values = Mapping[str, Tensor]
"""Weights by the names that the network has for them; moments of an optimizer by that name, a bar and their own."""


@dataclass(frozen=True)
class Assignment:
    """What a server asks of a client."""

    start: Values
    """What to start from: the weights, and the moments where they are shared; without them the optimizer begins anew."""
    round: int
    """Counted from 0."""
    rounds: int
    """How many there are altogether."""
    proximal: float = 0.0
    """How strongly the weights are held near where they started (FedProx, Li et al. 2020, eq. 2)."""


@dataclass(frozen=True)
class Update:
    """What a client sends back. The server believes none of it (`Merging.take`)."""

    client: str
    round: int
    """Counted from 0."""
    num_examples: int
    values: Values
    """The weights it ended with, and the moments where they are shared."""
    totals: Mapping[str, float] = field(default_factory=dict)
    """What its steps cost, in nats, by term of the loss; with `counts` and `weights` as in `StepResult`."""
    counts: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)


def learning(net: nn.Module) -> dict[str, nn.Parameter]:
    """What is trained, and so what is exchanged: all weights, or the adapters and heads alone where a regime froze the rest."""
    return {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def put(net: nn.Module, values: Values) -> None:
    """Give the network the weights among `values`."""
    for name, parameter in learning(net).items():
        parameter.copy_(values[name])


def taken(net: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Tensor]:
    """A copy of what the network has learnt so far, with the moments of an optimizer where one is given."""
    found = {name: parameter.detach().clone() for name, parameter in learning(net).items()}
    if optimizer is not None:
        found |= {name: value.clone() for name, value in optimizer_tensors(optimizer, net).items()}
    return found
