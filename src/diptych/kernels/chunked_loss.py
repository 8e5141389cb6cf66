"""Cross-entropy over a large vocabulary without keeping the logits.

A batch of 4,096 places over 8,192 tokens makes 128 MiB of logits, and as much again for their gradient. Here they are made
in chunks that stay in the processor's cache, and each chunk's gradient softmax(z) - one_hot(y) is multiplied with features
and weight at once (as Hsu et al. 2024, "Liger kernel", do). What comes from above is one number for all places wherever a
loss is a sum, so the finished gradients are scaled by it; where it is not, they are made anew.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 512
"""Places whose logits are there at once, at least."""
CHUNK_LOGITS = 1 << 23
"""Logits that are there at once, at least: each chunk adds a matrix of the weight's size to its gradient, which small ones do too often."""
# Shapes: M places, m places of a chunk, D features, V vocabulary.


def cross_entropy(features_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, gold_M: Tensor, chunk: int | None = None) -> Tensor:
    """-log softmax(features weightᵀ + bias)[gold] in nats, one per place: [M].

    Differentiable by features, weight and bias.

    Args:
        chunk: places at a time; None for as many as suit the vocabulary.
    """
    if _instead:
        return _instead[-1](features_MD, weight_VD, bias_V, gold_M, 0.0)
    chunk = chunk or chunk_of(len(weight_VD))
    return _ChunkedCrossEntropy.apply(features_MD, weight_VD, bias_V, gold_M, chunk)  # type: ignore[no-any-return]


def chunk_of(vocab_size: int) -> int:
    """How many places are taken at a time."""
    return max(CHUNK, CHUNK_LOGITS // vocab_size)


Loss = Callable[[Tensor, Tensor, Tensor | None, Tensor, float], Tensor]
_instead: list[Loss] = []


@contextmanager
def replaced(loss: Loss) -> Iterator[None]:
    """Losses over a vocabulary in here are taken by `loss`, which is told how much they are smoothed as well.

    For who must know what each place's loss does to the matrix; it is a product that no module's hook sees.
    """
    _instead.append(loss)
    try:
        yield
    finally:
        _instead.pop()


def replacement() -> Loss | None:
    """What takes losses over a vocabulary at present; None for `cross_entropy` itself."""
    return _instead[-1] if _instead else None


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, gold_M: Tensor, chunk: int) -> Tensor:
        dtype = torch.get_autocast_dtype(features_MD.device.type) if _autocasts(features_MD) else features_MD.dtype
        features, weight = features_MD.to(dtype), weight_VD.to(dtype)
        bias = None if bias_V is None else bias_V.to(dtype)
        nats_M, grads = _with_gradients(features, weight, bias, gold_M, chunk, None, ctx.needs_input_grad[:3])
        ctx.save_for_backward(features, weight, bias, gold_M)
        ctx.made, ctx.chunk, ctx.dtypes = grads, chunk, (features_MD.dtype, weight_VD.dtype, None if bias_V is None else bias_V.dtype)
        return nats_M

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_M,) = grads
        features, weight, bias, gold_M = ctx.saved_tensors
        # Scaled where they lie, since a copy of the weight's would be the most memory of a step; so they serve one pass alone.
        made, ctx.made = ctx.made, None
        if made is not None and len(grad_M) and bool((grad_M == grad_M[0]).all()):
            made = [None if grad is None else grad.mul_(grad_M[0].to(grad.dtype)) for grad in made]
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
    by_weight = None
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
        # By index: `scatter_add_` takes all of a bfloat16 matrix to float32 and back, a tenth of a product for a number a row.
        by_logits_mV[torch.arange(len(gold_m1), device=gold_m1.device), gold_m1[:, 0]] -= 1.0
        if scale_M is not None:
            by_logits_mV *= scale_M[part, None].to(by_logits_mV.dtype)
        if by_bias is not None:
            by_bias += by_logits_mV.sum(0, dtype=torch.float32)
        by_logits_mV = by_logits_mV.to(features.dtype)
        if by_features is not None:
            torch.mm(by_logits_mV, weight, out=by_features[part])
        if not wanted[1]:
            continue
        if by_weight is None:
            by_weight = (by_logits_mV.T @ features[part]).float()
        elif features.dtype == torch.float32:
            by_weight.addmm_(by_logits_mV.T, features[part])
        else:
            by_weight += by_logits_mV.T @ features[part]
    if wanted[1] and by_weight is None:
        by_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
    return nats_M, (by_features, by_weight, by_bias)


def _autocasts(x: Tensor) -> bool:
    return torch.is_autocast_enabled(x.device.type)
