"""The noise that hides a unit, and the key that it and the sampling come from.

The key is drawn from the system when a run begins and kept with its checkpoints, never in the model: whoever knew it could take the
noise away again. A published seed would be such a key.
"""

import math
import os
import secrets
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from diptych.streams import seed_for

AT_ONCE = 1 << 22
"""Numbers that are drawn at once."""
SUMMED = 4
"""Draws of the system's that one number of noise is the sum of."""


def new_key() -> int:
    """256 bits of the system's."""
    return secrets.randbits(256)


def add_noise(parameters: Iterable[nn.Parameter], size: float, key: int, step: int, *, is_cryptographic: bool) -> None:
    """Add N(0, size²) to every number of the gradients; a parameter without one gets noise alone.

    Args:
        is_cryptographic: draw from the system's generator, anew each time; else from torch's, by key and step.
    """
    draw = torch.Generator().manual_seed(seed_for(key, "noise", step))
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        for part in parameter.grad.view(-1).split(AT_ONCE):
            noise = of_system(part.numel()) if is_cryptographic else torch.empty(part.numel()).normal_(generator=draw)
            part.add_(noise.to(part.device, part.dtype), alpha=size)


def of_system(count: int) -> Tensor:
    """Normal numbers from the system's generator: float64 [count].

    Each is a sum of several, so that the gaps between floating-point numbers give the value without noise away to nobody (Mironov
    2012; Holohan and Braghin 2021, "Secure random sampling in differential privacy").
    """
    pairs = -(-count // 2)
    total = torch.zeros(2 * pairs, dtype=torch.float64)
    for _draw in range(SUMMED):
        bits = torch.frombuffer(bytearray(os.urandom(16 * pairs)), dtype=torch.int64)
        # 53 bits each, in (0, 1]: no logarithm of 0.
        radius, turn = (((bits & ((1 << 53) - 1)).double() + 1) * 2.0**-53).split(pairs)
        length = (-2 * radius.log()).sqrt()
        total += torch.cat([length * (2 * math.pi * turn).cos(), length * (2 * math.pi * turn).sin()])
    return (total / math.sqrt(SUMMED))[:count]
