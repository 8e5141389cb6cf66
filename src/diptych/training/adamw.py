"""AdamW (Loshchilov and Hutter 2019), one fused step for many weights, with a decay that may be cautious.

Cautious decay shrinks a weight only where the update shrinks it as well (Chen et al. 2025, "Cautious weight decay"), so that it
never works against what the gradient asks for.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim.adamw import adamw


class CautiousAdamW(torch.optim.Optimizer):
    """AdamW whose decay is cautious; its moments lie in `state` as those of torch's AdamW do."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float] = (0.9, 0.98)) -> None:
        self.betas = betas
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            step_adamw(group, self.state, self.betas, is_cautious=True)


def step_adamw(
    group: dict[str, Any], state: dict[Any, Any], betas: tuple[float, float], eps: float = 1e-8, *, is_cautious: bool = False
) -> None:
    """One fused step of a group's parameters, their moments in `state`."""
    having = [parameter for parameter in group["params"] if parameter.grad is not None]
    for parameter in having:
        if not state[parameter]:
            state[parameter]["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state[parameter]["exp_avg"], state[parameter]["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
    own = [state[parameter] for parameter in having]
    decay = group["weight_decay"]
    if is_cautious and decay:
        for parameter, each in zip(having, own, strict=True):
            # An update has the sign of its momentum, which the step below makes in just this way.
            update = each["exp_avg"].lerp(parameter.grad, 1 - betas[0])
            parameter.sub_(parameter * (update * parameter > 0), alpha=group["lr"] * decay)
    adamw(
        having,
        [parameter.grad for parameter in having],
        [each["exp_avg"] for each in own],
        [each["exp_avg_sq"] for each in own],
        [],
        [each["step"] for each in own],
        fused=True,
        amsgrad=False,
        beta1=betas[0],
        beta2=betas[1],
        lr=group["lr"],
        weight_decay=0.0 if is_cautious else decay,
        eps=eps,
        maximize=False,
    )
