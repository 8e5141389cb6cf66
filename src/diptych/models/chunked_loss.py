"""Cross-entropy over a large vocabulary without keeping the logits.

A batch of 4,096 places over 8,192 tokens makes 128 MiB of logits, and as much again for their gradient. Here they are made
in chunks, and each chunk's gradient is taken at once: softmax(z) - one_hot(y), scaled by what comes from above later. Where
the probabilities are few enough to keep, the backward pass finds them; where not, it makes them anew.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

KEPT_BYTES = 1 << 28
"""So much may be kept between the passes; making the logits anew costs a small GPT some 7 % of its step."""
# Shapes: M places, D features, V vocabulary.


def cross_entropy(features_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, gold_M: Tensor, chunk: int = 1024) -> Tensor:
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
        nats_M = torch.empty(len(gold_M), dtype=torch.float32, device=features.device)
        norm_M = torch.empty_like(nats_M)
        needs_grad = any(ctx.needs_input_grad[:3])
        keeps = needs_grad and len(gold_M) * len(weight) * features.element_size() <= KEPT_BYTES
        kept: list[Tensor] = []
        for start in range(0, len(gold_M), chunk):
            part = slice(start, start + chunk)
            logits_mV = F.linear(features[part], weight, bias).float()
            norm_M[part] = logits_mV.logsumexp(-1)
            nats_M[part] = norm_M[part] - logits_mV.gather(-1, gold_M[part, None])[:, 0]
            if keeps:
                kept.append(_by_logits(logits_mV, norm_M[part], gold_M[part]).to(dtype))
        ctx.save_for_backward(features, weight, bias, gold_M, norm_M)
        ctx.kept = kept
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
            if ctx.kept:
                by_logits_mV = ctx.kept[start // ctx.chunk]
            else:
                by_logits_mV = _by_logits(F.linear(features[part], weight, bias).float(), norm_M[part], gold_M[part])
            grad_logits_mV = by_logits_mV * grad_M[part, None].float()
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


def _by_logits(logits_mV: Tensor, norm_m: Tensor, gold_m: Tensor) -> Tensor:
    """The gradient of each place's loss by its logits, which it takes the place of."""
    chances_mV = logits_mV.sub_(norm_m[:, None]).exp_()
    chances_mV[torch.arange(len(gold_m), device=gold_m.device), gold_m] -= 1
    return chances_mV


def _autocasts(x: Tensor) -> bool:
    return torch.is_autocast_enabled(x.device.type)
