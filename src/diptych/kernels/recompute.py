"""Layers that keep what they are given and nothing of what they do: the backward pass does it again (Chen et al. 2016, "Training
deep nets with sublinear memory cost").

A training then holds the insides of one layer at a time and takes about a third longer. The second time gives the same bits as
the first: dropout is drawn from the same state and products have the same precision.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


def run(layer: Callable[..., Any], *arguments: Any, is_recomputed: bool) -> Any:
    """What `layer` makes of the arguments; with `is_recomputed` nothing of its insides is kept for the backward pass.

    What layers share and make when it is first asked for must be made before, where it has a gradient: it would be an inside of
    the first layer that asks.
    """
    if not (is_recomputed and torch.is_grad_enabled()):
        return layer(*arguments)
    return checkpoint(layer, *arguments, use_reentrant=False)
