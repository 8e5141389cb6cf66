"""A linear layer for training in bfloat16 on a processor: the bias is added inside of the product, forward and backward.

torch copies the bias to every row of the result first and has the product added to it, which costs a tenth of a small product. oneDNN adds
it to what is still in the registers, by the operator that torch.compile takes. The gradient by the bias is a product with ones, which
sums in float32 and reads the gradient faster than a sum over rows does.
"""

from typing import Any

import torch
from torch import Tensor, nn

# Shapes: N tokens, I in, O out.


class Linear(nn.Linear):
    """torch's, with passes by hand where they are faster."""

    def forward(self, input: Tensor) -> Tensor:
        if self.bias is not None and _is_taken(input, self.weight):
            return _Linear.apply(input, self.weight, self.bias)  # type: ignore[no-any-return]
        return super().forward(input)


def _is_taken(x: Tensor, weight: Tensor) -> bool:
    """Whether this is a training in bfloat16 on a processor that has such products."""
    if torch.compiler.is_compiling() or not torch.is_grad_enabled() or x.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype
    is_plain = type(weight) is nn.Parameter and x.ndim == 2 and len(x) > 0
    return is_plain and x.dtype == dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class _Linear(torch.autograd.Function):
    """x Wᵀ + b."""

    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor) -> Tensor:
        # Autocast would keep a copy of the weight until the step is over; making it twice takes a thousandth of the products.
        ctx.save_for_backward(x_NI, weight_OI)
        return torch.ops.mkldnn._linear_pointwise(x_NI, weight_OI.to(x_NI.dtype), bias_O.to(x_NI.dtype), "none", [], "")

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_NO,) = grads
        x_NI, weight_OI = ctx.saved_tensors
        by_x = grad_NO @ weight_OI.to(grad_NO.dtype) if ctx.needs_input_grad[0] else None
        by_weight = (grad_NO.T @ x_NI).to(weight_OI.dtype) if ctx.needs_input_grad[1] else None
        by_bias = (grad_NO.new_ones(1, len(grad_NO)) @ grad_NO)[0].to(weight_OI.dtype) if ctx.needs_input_grad[2] else None
        return by_x, by_weight, by_bias
