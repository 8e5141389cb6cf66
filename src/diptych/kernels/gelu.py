"""GELU by tanh (Hendrycks and Gimpel 2016, section 2) with a gradient by hand, for training on a processor.

Since (1 + tanh u) / 2 = sigmoid(2u), it is x sigmoid(2u) with u = √(2/π) (x + 0.044715 x³), and torch's sigmoid is quick where its tanh
is slow. The derivative is made with the value and kept in place of x, so that the backward pass is one product. Both are made in
float32, some places at a time: what lies between then stays in the processor's cache.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 1 << 20
"""Numbers at a time: three float32 buffers of them fit in the cache; fewer would wait for the threads of each pass to meet."""
LINEAR = 2 * (2 / torch.pi) ** 0.5
CUBIC = 0.044715 * LINEAR


def gelu_tanh(x: Tensor) -> Tensor:
    """x sigmoid(LINEAR x + CUBIC x³), each number by itself."""
    is_training = torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_compiling()
    if is_training and x.device.type == "cpu" and x.dtype in (torch.bfloat16, torch.float32) and x.is_contiguous():
        return _GeluTanh.apply(x)  # type: ignore[no-any-return]
    return F.gelu(x, approximate="tanh")


class _GeluTanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        value, slope = torch.empty_like(x), torch.empty_like(x)
        linear, twice_linear = x.new_tensor(LINEAR, dtype=torch.float32), x.new_tensor(-2 * LINEAR, dtype=torch.float32)
        size = min(CHUNK, x.numel())
        buffers = [torch.empty(size, dtype=torch.float32) for _ in range(3)]
        for part, to_value, to_slope in zip(*(each.view(-1).split(CHUNK) for each in (x, value, slope)), strict=True):
            wide, inner, gate = (buffer[: len(part)] for buffer in buffers)
            wide.copy_(part)
            torch.addcmul(linear, wide, wide, value=CUBIC, out=inner)
            torch.mul(inner, wide, out=gate).sigmoid_()
            # x times the derivative of what the sigmoid is of: x (LINEAR + 3 CUBIC x²).
            torch.add(twice_linear, inner, alpha=3, out=inner).mul_(wide)
            to_value.copy_(wide.mul_(gate))
            torch.ops.aten.sigmoid_backward.grad_input(inner, gate, grad_input=inner)
            to_slope.copy_(inner.add_(gate))
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return grads[0] * slope
