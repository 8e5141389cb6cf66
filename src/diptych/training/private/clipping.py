"""The sum of the units' gradients, each shortened to the same length, in one pass forward and back.

What a unit costs is the sum of its terms' means over its own targets: a mean over a step would make it depend on who else is in it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diptych.tasks.task import Task, Term
from diptych.training.private.units import UnitBatch
from diptych.training.private.watch import Watch

# Shapes: B entries of a batch, U units.

SLACK = {torch.bfloat16: 1.02, torch.float16: 1.01}
"""Squares of dot products in so few bits are measured wrong by less; a gradient must not be longer than it is said to be."""


def objectives(terms: dict[str, Term], unit_B: Tensor, num_units: int) -> Tensor:
    """What each unit costs: [U]."""
    total_U: Any = 0.0
    for term in terms.values():
        sums_U = term.total_B.new_zeros(num_units).index_add(0, unit_B, term.total_B)
        counts_U = torch.zeros(num_units, device=unit_B.device).index_add_(0, unit_B, term.count_B.to(unit_B.device, torch.float32))
        total_U = total_U + term.weight * sums_U / counts_U.clamp(min=1)
    return total_U


def add_clipped(net: Any, task: Task, batch: UnitBatch, longest: float) -> tuple[dict[str, Term], Tensor]:
    """Add Σ g_u min(1, longest / |g_u|) over a batch's units to the parameters' gradients.

    Returns:
        the terms of the loss, and the length of each unit's gradient [U].
    """
    watch = Watch(net, batch.unit_T, batch.num_units)
    with watch.on():
        terms = dict(task.loss(task.forward(net, batch.inner), batch.inner))
        unit_B = torch.tensor(batch.unit_B, device=batch.inner.texts.ids_N.device)
        objective = objectives(terms, unit_B, batch.num_units).sum()
        if objective.requires_grad:
            objective.backward()
    # The graph keeps what hooks were given as long as anything of it is there.
    terms = {name: Term(term.total_B.detach(), term.count_B, term.weight) for name, term in terms.items()}
    del objective
    device = batch.inner.texts.ids_N.device.type
    slack = SLACK.get(torch.get_autocast_dtype(device), 1.0) if torch.is_autocast_enabled(device) else 1.0
    # What is measured and added is in the types that it came in.
    with torch.no_grad(), torch.autocast(device, enabled=False):
        length_U = watch.squares().sqrt()
        watch.add((longest / (slack * length_U)).clamp(max=1.0).nan_to_num(nan=1.0, posinf=1.0))
    return terms, length_U


def single_gradients(net: Any, task: Task, batches: Sequence[UnitBatch]) -> list[dict[str, Tensor]]:
    """The gradient of each batch, which holds one unit, by autograd alone: what `add_clipped` is measured by."""
    found = []
    for batch in batches:
        net.zero_grad(set_to_none=True)
        unit_B = torch.tensor(batch.unit_B, device=batch.inner.texts.ids_N.device)
        terms = dict(task.loss(task.forward(net, batch.inner), batch.inner))
        objective = objectives(terms, unit_B, batch.num_units).sum()
        if objective.requires_grad:
            objective.backward()
        found.append({name: each.grad.clone() for name, each in net.named_parameters() if each.grad is not None})
    net.zero_grad(set_to_none=True)
    return found
