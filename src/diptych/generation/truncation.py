"""Which tokens may be drawn at all: the tail of a distribution is where a text goes astray (Holtzman et al. 2020).

Each function takes scores [B, V], log-probabilities up to a constant of each row, and returns them with -inf at the tokens
that are left out. The most probable token always stays.
"""

import math

import torch
from torch import Tensor

FEW = 512
"""So many of the best tokens are sorted first; as a rule they hold all that is kept, and sorting a whole vocabulary is slow."""


def top_k(scores_BV: Tensor, most: int) -> Tensor:
    """The `most` most probable tokens (Fan et al. 2018), and those that are as probable as the last of them."""
    if most >= scores_BV.shape[-1]:
        return scores_BV
    return _keep(scores_BV, scores_BV >= scores_BV.topk(most, dim=-1).values[:, -1:])


def top_p(scores_BV: Tensor, share: float) -> Tensor:
    """The fewest tokens that hold `share` of the probability (Holtzman et al. 2020)."""
    if share >= 1:
        return scores_BV
    size, total_B1 = min(FEW, scores_BV.shape[-1]), scores_BV.logsumexp(-1, keepdim=True)
    while True:
        best = scores_BV.topk(size, dim=-1)
        chances_BK = (best.values - total_B1).exp()
        sums_BK = chances_BK.cumsum(-1)
        if size == scores_BV.shape[-1] or bool((sums_BK[:, -1] >= share).all()):
            break
        size = min(8 * size, scores_BV.shape[-1])
    # A token stays while what lies before it is still short of the share.
    kept_BK = best.values.masked_fill(sums_BK - chances_BK >= share, -math.inf)
    return torch.full_like(scores_BV, -math.inf).scatter(-1, best.indices, kept_BK)


def min_p(scores_BV: Tensor, share: float) -> Tensor:
    """Tokens that are at least `share` as probable as the most probable one (Nguyen et al. 2024)."""
    if not share:
        return scores_BV
    return _keep(scores_BV, scores_BV >= scores_BV.amax(-1, keepdim=True) + math.log(share))


def typical(scores_BV: Tensor, share: float) -> Tensor:
    """The tokens whose surprise is nearest to the expected one, until they hold `share` of the probability (Meister et al. 2023)."""
    if share >= 1:
        return scores_BV
    logs_BV = torch.log_softmax(scores_BV, dim=-1)
    chances_BV = logs_BV.exp()
    expected_B1 = torch.special.entr(chances_BV).sum(-1, keepdim=True)
    distance_BV, ids_BV = (-logs_BV - expected_B1).abs().sort(dim=-1, stable=True)
    sums_BV = chances_BV.gather(-1, ids_BV).cumsum(-1)
    last_B1 = (sums_BV < share).sum(-1, keepdim=True).clamp(max=scores_BV.shape[-1] - 1)
    return _keep(scores_BV, (-logs_BV - expected_B1).abs() <= distance_BV.gather(-1, last_B1))


def _keep(scores_BV: Tensor, is_kept_BV: Tensor) -> Tensor:
    return scores_BV.masked_fill(~is_kept_BV, -math.inf)
