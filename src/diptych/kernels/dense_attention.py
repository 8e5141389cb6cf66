"""Attention in bfloat16 on a processor: whole matrices of scores, in place of torch's tiled kernel.

`scaled_dot_product_attention` saves memory by tiles; on a processor its bfloat16 passes cost twice (at 1,024 tokens) to
four times (at 64) what the plain products of eq. 1 cost, forward and backward together, and a third more forward alone. Up to
`LONGEST` tokens the scores are small enough to keep, and a training step is a fifth of attention.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LONGEST = 512
"""Beyond this the scores of a step take more memory than the weights of a small model."""
FEWEST = 32
"""Of fewer tokens that ask, as while a text is being written, the tiled kernel makes less work, where nothing learns."""
# Shapes: S texts, H heads, T tokens that ask, U tokens that are seen, K head size.


def attend(
    q_SHTK: Tensor, k_SHUK: Tensor, v_SHUK: Tensor, mask: Tensor | None, *, dropout: float, is_causal: bool, scale: float | None = None
) -> Tensor:
    """softmax(q kᵀ scale + mask) v, by the kernel that is the faster one here.

    Args:
        mask: true where a token is seen, or what is added to its score; broadcast over [S, H, T, U].
        scale: None for 1/√K.
    """
    is_training = torch.is_grad_enabled() and q_SHTK.requires_grad
    is_bias_learnt = is_training and mask is not None and mask.requires_grad
    is_for_us = q_SHTK.device.type == "cpu" and q_SHTK.dtype == torch.bfloat16 and not dropout and not is_bias_learnt
    is_short = max(q_SHTK.shape[2], k_SHUK.shape[2]) <= LONGEST
    if is_for_us and is_short and (is_training or q_SHTK.shape[2] >= FEWEST):
        return _Dense.apply(q_SHTK, k_SHUK, v_SHUK, mask, is_causal, scale or q_SHTK.shape[-1] ** -0.5)  # type: ignore[no-any-return]
    return F.scaled_dot_product_attention(q_SHTK, k_SHUK, v_SHUK, attn_mask=mask, dropout_p=dropout, is_causal=is_causal, scale=scale)


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool, scale: float) -> Tensor:
        scores_SHTU = torch.matmul(q, k.mT)
        if is_causal:
            future_TU = torch.full(scores_SHTU.shape[-2:], float("-inf"), dtype=q.dtype).triu_(1)
            torch.add(future_TU, scores_SHTU, alpha=scale, out=scores_SHTU)
        else:
            scores_SHTU.mul_(scale)
        if mask is not None:
            added = mask.to(q.dtype) if mask.is_floating_point() else torch.zeros((), dtype=q.dtype).masked_fill(~mask, float("-inf"))
            scores_SHTU.add_(added)
        chances_SHTU = scores_SHTU.softmax(-1)
        ctx.save_for_backward(q, k, v, chances_SHTU)
        ctx.scale = scale
        return torch.matmul(chances_SHTU, v)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        q, k, v, chances = ctx.saved_tensors
        by_chances = torch.matmul(grad, v.mT)
        # The gradient of softmax: p (g - Σ g p).
        by_scores = torch._softmax_backward_data(by_chances, chances, -1, chances.dtype)
        by_q = torch.matmul(by_scores, k).mul_(ctx.scale)
        by_k = torch.matmul(by_scores.mT, q).mul_(ctx.scale)
        return by_q, by_k, torch.matmul(chances.mT, grad), None, None, None
