"""Cross-entropy over a large vocabulary without keeping the logits.

A batch of 4,096 places over 8,192 tokens makes 128 MiB of logits, and as much again for their gradient. Here they are made
in chunks that stay in the processor's cache, and each chunk's gradient softmax(z) - one_hot(y) is multiplied with features
and weight at once (as Hsu et al. 2024, "Liger kernel", do). What comes from above is one number for all places wherever a
loss is a sum, so the finished gradients are scaled by it; where it is not, they are made anew.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 512
"""Places whose logits are there at once."""
# Shapes: M places, m places of a chunk, D features, V vocabulary.


def cross_entropy(features_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, gold_M: Tensor, chunk: int = CHUNK) -> Tensor:
    """-log softmax(features weightᵀ + bias)[gold] in nats, one per place: [M].

    Differentiable by features, weight and bias.
    """
    return _ChunkedCrossEntropy.apply(features_MD, weight_VD, bias_V, gold_M, chunk)  # type: ignore[no-any-return]


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, gold_M: Tensor, chunk: int) -> Tensor:
        dtype = torch.get_autocast_dtype(features_MD.device.type) if _autocasts(features_MD) else features_MD.dtype
        features, weight = features_MD.to(dtype), weight_VD.to(dtype)
        bias = None if bias_V is None else bias_V.to(dtype)
        nats_M, grads = _with_gradients(features, weight, bias, gold_M, chunk, None, ctx.needs_input_grad[:3])
        ctx.save_for_backward(features, weight, bias, gold_M, *grads)
        ctx.chunk, ctx.dtypes = chunk, (features_MD.dtype, weight_VD.dtype, None if bias_V is None else bias_V.dtype)
        return nats_M

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_M,) = grads
        features, weight, bias, gold_M, *made = ctx.saved_tensors
        if len(grad_M) and bool((grad_M == grad_M[0]).all()):
            scale = grad_M[0]
            made = [None if grad is None else grad * scale.to(grad.dtype) for grad in made]
        else:
            _nats, made = _with_gradients(features, weight, bias, gold_M, ctx.chunk, grad_M.float(), ctx.needs_input_grad[:3])
        return *(None if grad is None else grad.to(dtype) for grad, dtype in zip(made, ctx.dtypes, strict=True)), None, None


def _with_gradients(
    features: Tensor, weight: Tensor, bias: Tensor | None, gold_M: Tensor, chunk: int, scale_M: Tensor | None, wanted: tuple[bool, ...]
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """The loss of each place, and of their sum, weighed by `scale_M`, the gradients by features, weight and bias that are wanted.

    Sums over many places are kept in float32.
    """
    nats_M = torch.empty(len(gold_M), dtype=torch.float32, device=features.device)
    by_features = torch.empty_like(features) if wanted[0] else None
    by_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) if wanted[1] else None
    by_bias = torch.zeros(len(weight), dtype=torch.float32, device=weight.device) if wanted[2] and bias is not None else None
    for start in range(0, len(gold_M), chunk):
        part = slice(start, start + chunk)
        logits_mV, gold_m1 = F.linear(features[part], weight, bias), gold_M[part, None]
        if not any(wanted):
            nats_M[part] = -logits_mV.float().log_softmax(-1).gather(-1, gold_m1)[:, 0]
            continue
        if features.dtype == torch.bfloat16:
            # One pass over the logits. The loss of a place is rounded to 1/500 of a nat this way, up or down alike, and ends at 87.
            by_logits_mV = logits_mV.softmax(-1)
            nats_M[part] = -by_logits_mV.gather(-1, gold_m1)[:, 0].float().clamp(min=torch.finfo(torch.float32).tiny).log()
        else:
            logs_mV = logits_mV.float().log_softmax(-1)
            nats_M[part] = -logs_mV.gather(-1, gold_m1)[:, 0]
            by_logits_mV = logs_mV.exp_()
        by_logits_mV.scatter_add_(-1, gold_m1, by_logits_mV.new_full(gold_m1.shape, -1.0))
        if scale_M is not None:
            by_logits_mV *= scale_M[part, None].to(by_logits_mV.dtype)
        if by_bias is not None:
            by_bias += by_logits_mV.sum(0, dtype=torch.float32)
        by_logits_mV = by_logits_mV.to(features.dtype)
        if by_features is not None:
            torch.mm(by_logits_mV, weight, out=by_features[part])
        if by_weight is not None and features.dtype == torch.float32:
            by_weight.addmm_(by_logits_mV.T, features[part])
        elif by_weight is not None:
            by_weight += by_logits_mV.T @ features[part]
    return nats_M, (by_features, by_weight, by_bias)


def _autocasts(x: Tensor) -> bool:
    return torch.is_autocast_enabled(x.device.type)
