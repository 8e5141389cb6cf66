"""RMS norm (Zhang and Sennrich 2019) with a gradient by hand."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """torch's, with a gradient by hand: on a processor its own is put together of a dozen passes and takes twice as long."""

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad and self.eps is not None:
            return _RMSNorm.apply(x, self.weight, self.eps)  # type: ignore[no-any-return]
        return (
            super().forward(x) if x.dtype == self.weight.dtype else F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)
        )


class _RMSNorm(torch.autograd.Function):
    """y = x / sqrt(mean(x²) + eps) · weight; the mean is taken in float32 at least."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
        shrink = (length * length / x.shape[-1] + eps).rsqrt().to(x.dtype)
        normed = x * shrink
        ctx.save_for_backward(normed, weight, shrink)
        return normed * weight.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        normed, weight, shrink = ctx.saved_tensors
        own = weight.to(grad.dtype)
        product = grad * normed
        by_weight = product.flatten(0, -2).sum(0, dtype=weight.dtype) if ctx.needs_input_grad[1] else None
        along = (product @ own)[..., None] / own.numel()
        return (grad * own).addcmul_(normed, along, value=-1).mul_(shrink), by_weight, None
