"""Before the first step: the clipped gradient of a few of the run's own units beside a loop over them, by autograd alone.

What is known of layers is checked when a run is prepared (`guard.py`); this sees what no list of layers can, such as a head that a
later hand taught to look elsewhere.
"""

from typing import Any

import torch

from diptych.errors import TrainingError
from diptych.tasks.task import Place, Task
from diptych.training.private.clipping import add_clipped, single_gradients
from diptych.training.private.units import Units, UnitTask

TOLERANCE = 2e-3
"""Of the length of the sum; in float32 the two ways differ by about a thousandth of this."""


def prove(net: Any, task: Task, shown: UnitTask, units: Units, places: list[Place], longest: float) -> None:
    """
    Raises:
        TrainingError E559: a layer's clipped gradient is not the sum of its units' own.
    """
    device = next(net.parameters()).device
    was_training = net.training
    net.eval()
    try:
        with torch.autocast(device.type, enabled=False):
            alone = [shown.collate(units, [place]).to(device) for place in places]
            kind = units.kind(places[0])
            alone = [batch for batch, place in zip(alone, places, strict=True) if units.kind(place) == kind]
            together = shown.collate(units, [place for place in places if units.kind(place) == kind]).to(device)
            singles = single_gradients(net, task, alone)
            expected: dict[str, torch.Tensor] = {}
            for single in singles:
                length = torch.stack([each.norm() for each in single.values()]).norm() if single else torch.ones(())
                weight = (longest / length).clamp(max=1.0).nan_to_num(nan=1.0)
                for name, each in single.items():
                    expected[name] = expected.get(name, 0.0) + weight * each
            add_clipped(net, task, together, longest)
            _compare(net, expected)
    finally:
        net.zero_grad(set_to_none=True)
        net.train(was_training)


def _compare(net: Any, expected: dict[str, torch.Tensor]) -> None:
    whole = torch.stack([each.norm() for each in expected.values()]).norm() if expected else torch.zeros(())
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        wrong = float((found - expected.get(name, torch.zeros_like(parameter))).norm() / whole.clamp(min=1e-30))
        if not wrong <= TOLERANCE:
            raise TrainingError("E559", module=name, share=f"{wrong:.2g}")
