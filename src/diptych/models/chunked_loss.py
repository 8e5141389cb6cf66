"""Cross-entropy over a large vocabulary without keeping the logits.

A batch of 4,096 places over 8,192 tokens makes 128 MiB of logits, and as much again for their gradient. Here they are made
in chunks, and each chunk's gradient is taken at once: softmax(z) - one_hot(y), scaled by what comes from above later.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Shapes: M places, D features, V vocabulary.


def cross_entropy(features_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, gold_M: Tensor, chunk: int = 1024) -> Tensor:
    """-log softmax(features weightᵀ + bias)[gold] in nats, one per place: [M].

    Differentiable by features, weight and bias. The backward pass makes the logits anew, a chunk at a time.
    """
    return _ChunkedCrossEntropy.apply(features_MD, weight_VD, bias_V, gold_M, chunk)  # type: ignore[no-any-return]


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, gold_M: Tensor, chunk: int) -> Tensor:
        dtype = torch.get_autocast_dtype(features_MD.device.type) if _autocasts(features_MD) else features_MD.dtype
        features, weight = features_MD.to(dtype), weight_VD.to(dtype)
        bias = None if bias_V is None else bias_V.to(dtype)
        nats_M = torch.empty(len(gold_M), dtype=torch.float32, device=features.device)
        norm_M = torch.empty_like(nats_M)
        for start in range(0, len(gold_M), chunk):
            part = slice(start, start + chunk)
            logits_mV = F.linear(features[part], weight, bias).float()
            norm_M[part] = logits_mV.logsumexp(-1)
            nats_M[part] = norm_M[part] - logits_mV.gather(-1, gold_M[part, None])[:, 0]
        ctx.save_for_backward(features, weight, bias, gold_M, norm_M)
        ctx.chunk, ctx.dtypes = chunk, (features_MD.dtype, weight_VD.dtype, None if bias_V is None else bias_V.dtype)
        return nats_M

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_M,) = grads
        features, weight, bias, gold_M, norm_M = ctx.saved_tensors
        wants_features, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        grad_features = torch.empty_like(features) if wants_features else None
        grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) if wants_weight else None
        grad_bias = torch.zeros(len(weight), dtype=torch.float32, device=weight.device) if wants_bias else None
        for start in range(0, len(gold_M), ctx.chunk):
            part = slice(start, start + ctx.chunk)
            chances_mV = F.linear(features[part], weight, bias).float().sub_(norm_M[part, None]).exp_()
            chances_mV[torch.arange(len(chances_mV), device=chances_mV.device), gold_M[part]] -= 1
            grad_logits_mV = chances_mV.mul_(grad_M[part, None].float())
            if grad_bias is not None:
                grad_bias += grad_logits_mV.sum(0)
            grad_logits_mV = grad_logits_mV.to(features.dtype)
            if grad_features is not None:
                torch.mm(grad_logits_mV, weight, out=grad_features[part])
            if grad_weight is not None and features.dtype == torch.float32:
                grad_weight.addmm_(grad_logits_mV.T, features[part])
            elif grad_weight is not None:
                grad_weight += grad_logits_mV.T @ features[part]
        of_features, of_weight, of_bias = ctx.dtypes
        return (
            None if grad_features is None else grad_features.to(of_features),
            None if grad_weight is None else grad_weight.to(of_weight),
            None if grad_bias is None else grad_bias.to(of_bias),
            None,
            None,
        )


def _autocasts(x: Tensor) -> bool:
    return torch.is_autocast_enabled(x.device.type)
