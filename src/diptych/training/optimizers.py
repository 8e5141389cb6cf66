"""AdamW (Loshchilov and Hutter 2019), with weight decay where it belongs: on the matrices of linear layers alone.

What a parameter is, is read from the module that owns it, never from its name; a tied weight is optimized once, as the
embedding that it is.
"""

from collections.abc import Iterator

import torch
from torch import nn

from diptych.config import TrainSettings


def parameter_groups(net: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Every trainable parameter once: "decayed" are matrices of linear layers, "kept" the rest."""
    groups: dict[str, list[nn.Parameter]] = {"decayed": [], "kept": []}
    seen: set[int] = set()
    for module, parameter in _owned(net):
        if id(parameter) in seen or not parameter.requires_grad:
            continue
        seen.add(id(parameter))
        is_matrix = isinstance(module, nn.Linear) and parameter.ndim >= 2
        groups["decayed" if is_matrix else "kept"].append(parameter)
    return groups


def adamw(net: nn.Module, settings: TrainSettings, lr: float) -> torch.optim.AdamW:
    """AdamW over the groups of `net`; the loop sets the learning rate of each step from `lr`, the peak."""
    groups = parameter_groups(net)
    return torch.optim.AdamW(
        [
            {"params": groups["decayed"], "weight_decay": settings.weight_decay, "peak_lr": lr},
            {"params": groups["kept"], "weight_decay": 0.0, "peak_lr": lr},
        ],
        lr=lr,
        betas=settings.betas,
        eps=1e-8,
        fused=True,
    )


def _owned(net: nn.Module) -> Iterator[tuple[nn.Module, nn.Parameter]]:
    """Each parameter with the modules that own it, embeddings first, so that a tied weight counts as an embedding."""
    modules = sorted(net.modules(), key=lambda module: not isinstance(module, nn.Embedding))
    for module in modules:
        for parameter in module.parameters(recurse=False):
            yield module, parameter
