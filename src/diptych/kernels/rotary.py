"""Rotary positions (Su et al. 2021, "RoFormer", eq. 34) with a gradient by hand.

Put together of torch's own products it takes a dozen passes over halves of heads, forward and backward; here three each.
"""

from typing import Any

import torch
from torch import Tensor

# Shapes: N tokens, H heads, K head size, P pairs of a head (K/2).


def rotate(x_NHK: Tensor, cos_N1K: Tensor, sin_N1P: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i + K/2}) by its angle, whose cosine stands in both places."""
    return _Rotation.apply(x_NHK, cos_N1K, sin_N1P)  # type: ignore[no-any-return]


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NHK: Tensor, cos_N1K: Tensor, sin_N1P: Tensor) -> Tensor:
        ctx.save_for_backward(cos_N1K, sin_N1P)
        return _turn(x_NHK, cos_N1K, sin_N1P, 1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cos_N1K, sin_N1P = ctx.saved_tensors
        return _turn(grads[0], cos_N1K, sin_N1P, -1.0), None, None


def _turn(x_NHK: Tensor, cos_N1K: Tensor, sin_N1P: Tensor, way: float) -> Tensor:
    """Forwards with 1, back with -1."""
    y_NHK = x_NHK * cos_N1K
    (x, x_after), (y, y_after) = x_NHK.chunk(2, dim=-1), y_NHK.chunk(2, dim=-1)
    y.addcmul_(x_after, sin_N1P, value=-way)
    y_after.addcmul_(x, sin_N1P, value=way)
    return y_NHK
