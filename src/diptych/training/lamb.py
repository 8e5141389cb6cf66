"""LAMB (You et al. 2020, algorithm 2): Adam's update of each layer made as long as the layer's weight, for large batches.

In large steps some layers get updates longer than themselves while others hardly move. Here each weight moves by the learning
rate's share of its own length, and only the direction is Adam's. As in the authors' code, what has one dimension (gains and biases)
takes Adam's update as it is. What is several matrices laid together (`Joined`) is measured matrix by matrix.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from diptych.training.sharding import full, shared_like

EPSILON = 1e-6


class Lamb(torch.optim.Optimizer):
    """LAMB; its moments lie in `state` as those of torch's AdamW do.

    Args:
        groups: as torch's, with `weight_decay`, and with `parts` where weights are several matrices: of each parameter, the rows of
            the matrices in it.
        is_cautious: decay a weight only where the update shrinks it as well (see `adamw.py`).
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float] = (0.9, 0.98), *, is_cautious: bool = False
    ) -> None:
        self.betas, self.is_cautious = betas, is_cautious
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, "parts": None})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            parts = group["parts"] or [None] * len(group["params"])
            for parameter, rows in zip(group["params"], parts, strict=True):
                if parameter.grad is None:
                    continue
                update = self._adam(parameter)
                if group["weight_decay"]:
                    shrinks = (update * parameter > 0) if self.is_cautious else 1.0
                    update.add_(parameter * shrinks, alpha=group["weight_decay"])
                if parameter.ndim > 1:
                    update.mul_(shared_like(_trust(parameter, update, rows), parameter))
                parameter.sub_(update, alpha=group["lr"])

    def _adam(self, parameter: nn.Parameter) -> Tensor:
        """Adam's update: the mean gradient over the root of the mean square, both corrected for their start at zero."""
        state, (first, second) = self.state[parameter], self.betas
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        step = float(state["step"])
        assert parameter.grad is not None
        state["exp_avg"].lerp_(parameter.grad, 1 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
        return state["exp_avg"] / (1 - first**step) / ((state["exp_avg_sq"] / (1 - second**step)).sqrt() + EPSILON)


def _trust(parameter: Tensor, update: Tensor, rows: tuple[int, ...] | None) -> Tensor:
    """How much longer each matrix is than its update, at each of its places; 1 where either is nothing."""
    shape = (-1,) + (1,) * (parameter.ndim - 1)
    squares = [full((each * each).flatten(1).sum(1)) for each in (parameter, update)]
    ratios = []
    for own, moved in zip(*(square.split(rows or len(square)) for square in squares), strict=True):
        length, step = own.sum().sqrt(), moved.sum().sqrt()
        is_something = (length > 0) & (step > 0)
        ratios.append(torch.where(is_something, length / step.clamp_min(1e-30), 1.0).expand(len(own)))
    return torch.cat(ratios).view(shape).expand(parameter.shape)
