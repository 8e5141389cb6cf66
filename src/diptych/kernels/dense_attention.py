"""Attention in bfloat16 on a processor: whole matrices of scores, in place of torch's tiled kernel.

`scaled_dot_product_attention` saves memory by tiles; on a processor its bfloat16 passes cost twice (at 1,024 tokens) to
four times (at 64) what the plain products of eq. 1 cost, forward and backward together, and a third more forward alone. Up to
`LONGEST` tokens the scores are small enough to keep, and a training step is a fifth of attention.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

LONGEST = 512
"""Beyond this the scores of a step take more memory than the weights of a small model."""
FEWEST = 32
"""Of fewer tokens that ask, as while a text is being written, the tiled kernel makes less work, where nothing learns."""
STRIPE = 128
"""Tokens of a causal text that ask at once. Smaller products would be slower than what they leave out."""
# Shapes: S texts, H heads, T tokens that ask (t of a stripe), U tokens that are seen, K head size; R texts times heads.


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
    """Tokens ask in stripes, so that of a causal text half of the scores need not be made: a stripe sees what is before its end."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool, scale: float) -> Tensor:
        S, H, T, K = q.shape
        U = k.shape[2]
        # Each in one piece, once: every product would copy what is not.
        k_RUK, v_RUK = (x.contiguous().view(S * H, U, K) for x in (k, v))
        # Laid as a flat row of tokens has it, which is where the answer goes.
        y_SHTK = torch.empty(S, T, H, K, dtype=q.dtype).transpose(1, 2)
        stripes = _stripes(T, U, is_causal)
        asking, chances = [], []
        for part, seen in stripes:
            q_RtK = q[:, :, part].reshape(S * H, -1, K)
            scores_RtU = _product(q_RtK, k_RUK[:, :seen].mT, scale)
            if is_causal:
                size = scores_RtU.shape[1]
                scores_RtU[..., seen - size :].add_(torch.full((size, size), float("-inf"), dtype=q.dtype).triu_(1))
            if mask is not None:
                added = mask.to(q.dtype) if mask.is_floating_point() else torch.zeros((), dtype=q.dtype).masked_fill(~mask, float("-inf"))
                scores_RtU.view(S, H, -1, seen).add_(added.expand(*added.shape[:-2], T, U)[..., part, :seen])
            chances_RtU = scores_RtU.softmax(-1)
            y_SHTK[:, :, part] = torch.bmm(chances_RtU, v_RUK[:, :seen]).view(S, H, -1, K)
            asking.append(q_RtK)
            chances.append(chances_RtU)
        ctx.save_for_backward(k_RUK, v_RUK, *asking, *chances)
        ctx.stripes, ctx.scale, ctx.shape = stripes, scale, (S, H, T, K)
        return y_SHTK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        S, H, T, K = ctx.shape
        k, v, *kept = ctx.saved_tensors
        count = len(ctx.stripes)
        by_q = torch.empty(S, T, H, K, dtype=k.dtype).transpose(1, 2)
        by_k = by_v = None
        # The last stripe sees everything, so its sums are where those of the others are added.
        for (part, seen), q_RtK, chances_RtU in reversed(list(zip(ctx.stripes, kept[:count], kept[count:], strict=True))):
            grad_RtK = grads[0][:, :, part].reshape(S * H, -1, K)
            by_chances = torch.bmm(grad_RtK, v[:, :seen].mT)
            # The gradient of softmax: p (g - Σ g p).
            by_scores = torch._softmax_backward_data(by_chances, chances_RtU, -1, k.dtype)
            by_q[:, :, part] = _product(by_scores, k[:, :seen], ctx.scale).view(S, H, -1, K)
            more_k, more_v = _product(by_scores.mT, q_RtK, ctx.scale), torch.bmm(chances_RtU.mT, grad_RtK)
            if by_k is None or by_v is None:
                by_k, by_v = more_k, more_v
            else:
                by_k[:, :seen] += more_k
                by_v[:, :seen] += more_v
        assert by_k is not None and by_v is not None
        return by_q, by_k.view(S, H, -1, K), by_v.view(S, H, -1, K), None, None, None


def _product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """a b scale, scaled before it is rounded; nothing is added."""
    return torch.baddbmm(a.new_zeros(1, 1, 1), a, b, beta=0, alpha=scale)


def _stripes(num_asking: int, num_seen: int, is_causal: bool) -> list[tuple[slice, int]]:
    """Which tokens ask together, and how many they see."""
    if not is_causal or num_asking != num_seen:
        return [(slice(0, num_asking), num_seen)]
    ends = [*range(STRIPE, num_asking - STRIPE // 2, STRIPE), num_asking]
    return [(slice(start, end), end) for start, end in zip([0, *ends], ends, strict=False)]
