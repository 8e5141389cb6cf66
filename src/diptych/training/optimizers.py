"""Which optimizer moves which weight, and with weight decay where it belongs: on the matrices of linear layers alone.

What a parameter is, is read from the module that owns it, never from its name; a tied weight is optimized once, as the
embedding that it is.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from diptych.config import TrainSettings
from diptych.models.layers import Joined
from diptych.training.adamw import CautiousAdamW
from diptych.training.lamb import Lamb
from diptych.training.muon import Muon


def build_optimizer(net: nn.Module, settings: TrainSettings, lr: float, precision: str = "float32") -> torch.optim.Optimizer:
    """The optimizer that `settings` name; the loop sets the learning rate of each step from `peak_lr`, which is `lr`.

    Args:
        precision: what matrix products are computed in, where the optimizer has some of its own.
    """
    if settings.optimizer == "muon":
        return muon(net, settings, lr, precision)
    if settings.optimizer == "lamb":
        return lamb(net, settings, lr)
    return adamw(net, settings, lr)


def adamw(net: nn.Module, settings: TrainSettings, lr: float) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019) for every weight."""
    groups = parameter_groups(net)
    described = [
        {"params": groups["inner"] + groups["outer"], "weight_decay": settings.weight_decay, "peak_lr": lr},
        {"params": groups["kept"], "weight_decay": 0.0, "peak_lr": lr},
    ]
    if settings.cautious_decay:
        return CautiousAdamW(described, lr, settings.betas)
    return torch.optim.AdamW(described, lr=lr, betas=settings.betas, eps=1e-8, fused=True)


def muon(net: nn.Module, settings: TrainSettings, lr: float, precision: str = "float32") -> Muon:
    """Muon for the matrices between embeddings and heads, AdamW for the rest."""
    groups, parts = parameter_groups(net), _parts(net)
    described: list[dict[str, Any]] = [
        {"params": groups["inner"], "weight_decay": settings.weight_decay, "is_matrix": True},
        {"params": groups["outer"], "weight_decay": settings.weight_decay},
        {"params": groups["kept"], "weight_decay": 0.0},
    ]
    described[0]["parts"] = [parts[id(matrix)] for matrix in groups["inner"]]
    filled = [{**group, "peak_lr": lr} for group in described if group["params"]]
    is_cautious: dict[bool | None, Any] = {None: "matrices", True: "every", False: None}
    return Muon(filled, lr, betas=settings.betas, precision=precision, is_cautious=is_cautious[settings.cautious_decay])


def lamb(net: nn.Module, settings: TrainSettings, lr: float) -> Lamb:
    """LAMB for every weight."""
    groups, parts = parameter_groups(net), _parts(net)
    matrices = groups["inner"] + groups["outer"]
    described: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": settings.weight_decay, "parts": [parts[id(matrix)] for matrix in matrices]},
        {"params": groups["kept"], "weight_decay": 0.0},
    ]
    filled = [{**group, "peak_lr": lr} for group in described if group["params"]]
    return Lamb(filled, lr, settings.betas, is_cautious=bool(settings.cautious_decay))


def parameter_groups(net: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Every trainable parameter once: "inner" and "outer" are matrices of linear layers, "kept" the rest.

    Outer ones belong to the network's heads: they answer with classes or tokens, one row each, as an embedding does.
    """
    heads = getattr(net, "heads", None)
    outside = set(heads.modules()) if isinstance(heads, nn.Module) else set()
    groups: dict[str, list[nn.Parameter]] = {"inner": [], "outer": [], "kept": []}
    seen: set[int] = set()
    for module, parameter in _owned(net):
        if id(parameter) in seen or not parameter.requires_grad:
            continue
        seen.add(id(parameter))
        is_matrix = isinstance(module, nn.Linear) and parameter.ndim >= 2
        groups["kept" if not is_matrix else "outer" if module in outside else "inner"].append(parameter)
    return groups


def _parts(net: nn.Module) -> dict[int, tuple[int, ...]]:
    """By weight: the rows of each matrix in it."""
    linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
    return {id(module.weight): module.parts if isinstance(module, Joined) else (module.out_features,) for module in linear}


def _owned(net: nn.Module) -> Iterator[tuple[nn.Module, nn.Parameter]]:
    """Each parameter with the modules that own it, embeddings first, so that a tied weight counts as an embedding."""
    modules = sorted(net.modules(), key=lambda module: not isinstance(module, nn.Embedding))
    for module in modules:
        for parameter in module.parameters(recurse=False):
            yield module, parameter
