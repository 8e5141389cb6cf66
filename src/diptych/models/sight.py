"""What each token may see, and what its score gains by distance: the masks of one pass, made once and shared by all layers."""

import torch
from torch import Tensor, nn

from diptych.models.cache import Cache
from diptych.packed import Packed

# Shapes: S texts of one block, H heads, Q queries, K keys.


class Sight:
    """The masks of one pass over some texts.

    Args:
        is_causal: a token sees itself and those before it, and the prefix of its text where the texts have one.
        bias: distances -> what is added to scores.
    """

    def __init__(self, texts: Packed, cache: Cache | None, *, is_causal: bool, bias: nn.Module | None) -> None:
        self.texts, self.is_causal, self.bias = texts, is_causal, bias
        self.before = cache.lengths if cache is not None and any(cache.lengths) else None
        """How many tokens of each text were read before this pass; None where it is the first."""
        self._masks: dict[tuple[int, int], tuple[Tensor | None, bool]] = {}

    @property
    def is_plain(self) -> bool:
        """Whether causality or the ends of the texts are all there is to it."""
        return self.bias is None and self.texts.prefix_lengths is None

    def mask(self, number: int, window: int) -> tuple[Tensor | None, bool]:
        """What the texts of block `number` see: a mask [S or 1, H or 1, Q, K] or None for all, and whether to be causal besides.

        A mask of booleans says who is seen, one of numbers is added to scores.

        Args:
            window: a token sees those less than this far away; 0 for all.
        """
        key = (number, window)
        if key not in self._masks:
            self._masks[key] = self._make(number, window)
        return self._masks[key]

    def num_keys(self, number: int) -> int:
        """How many keys the longest text of block `number` has."""
        block = self.texts.blocks[number]
        return block.width if self.before is None else max(self.before[text] + self.texts.lengths[text] for text in block.texts_S)

    def _make(self, number: int, window: int) -> tuple[Tensor | None, bool]:
        block = self.texts.blocks[number]
        device = self.texts.ids_N.device
        window = window if self.num_keys(number) > window else 0
        if self.before is None and self.is_plain and not window:
            # A causal token never sees the empty places behind its text, so only a bidirectional block needs a mask.
            is_all = self.is_causal or block.is_real_ST is None
            return (None if is_all or block.is_real_ST is None else block.is_real_ST[:, None, None]), self.is_causal
        starts_S = torch.tensor([0] if self.before is None else [self.before[text] for text in block.texts_S], device=device)
        if block.width == 1 and self.is_plain and not window and len(set(starts_S.tolist())) == 1:
            return None, False
        at_q = starts_S[:, None, None] + torch.arange(block.width, device=device)[:, None]
        at_k = torch.arange(self.num_keys(number), device=device)
        distance_SQK = at_q - at_k
        sees_SQK = distance_SQK >= 0 if self.is_causal else torch.ones_like(distance_SQK, dtype=torch.bool)
        if self.texts.prefix_lengths is not None:
            prefix_S = torch.tensor([self.texts.prefix_lengths[text] for text in block.texts_S], device=device)
            sees_SQK = sees_SQK | (at_k < prefix_S[:, None, None])
        if window:
            sees_SQK = sees_SQK & (distance_SQK.abs() < window)
        if block.is_real_ST is not None and not self.is_causal:
            sees_SQK = sees_SQK & block.is_real_ST[:, None]
        if self.bias is None:
            # A query that is an empty place must see something, or its row is NaN.
            return (sees_SQK | (distance_SQK == 0))[:, None], False
        bias_SHQK = self.bias(distance_SQK)
        return bias_SHQK.masked_fill(~(sees_SQK | (distance_SQK == 0))[:, None], -torch.inf), False
