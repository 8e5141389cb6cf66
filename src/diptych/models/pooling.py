"""One vector for a text: how those of its tokens become one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.packed import Packed

# Shapes: N tokens of all texts, B texts, D hidden.


@dataclass(frozen=True)
class Pooling:
    """How a text becomes a vector."""

    modes: tuple[str, ...] = ("mean",)
    """One or more of `WAYS`, laid side by side."""
    normalize: bool = False
    """Whether the vector has length 1."""
    max_length: int | None = None
    """Longer texts are cut to so many tokens; None for the model's context length."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """What stands before a text, by what it is: a query, a passage."""


class SentenceHead(nn.Module):
    """The vector of each text; it has no weights of its own."""

    def __init__(self, pooling: Pooling | None = None) -> None:
        super().__init__()
        self.pooling = pooling or Pooling()

    def forward(self, hidden_ND: Tensor, texts: Packed) -> Tensor:
        vectors_BD = torch.cat([WAYS[mode](hidden_ND, texts) for mode in self.pooling.modes], dim=-1)
        return F.normalize(vectors_BD, dim=-1) if self.pooling.normalize else vectors_BD


def mean(hidden_ND: Tensor, texts: Packed) -> Tensor:
    """The mean over each text: [B, D], zeros for a text without tokens."""
    return _sums(hidden_ND, texts) / _lengths(hidden_ND, texts)[:, None]


def one_a_text(hidden_ND: Tensor, texts: Packed, *, is_last: bool) -> Tensor:
    """The vector of each text's first or last token, zeros for a text without tokens: [B, D]."""
    lengths_B = torch.tensor(texts.lengths, device=hidden_ND.device)
    at_B = texts.starts_B + (lengths_B - 1 if is_last else 0)
    if all(texts.lengths):
        return hidden_ND[at_B]
    rows = lengths_B.nonzero().flatten()
    return hidden_ND.new_zeros(len(lengths_B), hidden_ND.shape[-1]).index_copy(0, rows, hidden_ND[at_B[rows]])


def _max(hidden_ND: Tensor, texts: Packed) -> Tensor:
    """The largest value of each feature in the text."""
    index_ND = texts.text_N[:, None].expand_as(hidden_ND)
    lowest_BD = hidden_ND.new_full((texts.num_texts, hidden_ND.shape[-1]), -torch.inf)
    return lowest_BD.scatter_reduce(0, index_ND, hidden_ND, reduce="amax")


def _mean_by_root(hidden_ND: Tensor, texts: Packed) -> Tensor:
    """The sum over the square root of the length."""
    return _sums(hidden_ND, texts) / _lengths(hidden_ND, texts).sqrt()[:, None]


def _weighted(hidden_ND: Tensor, texts: Packed) -> Tensor:
    """The mean with weights 1, 2, 3, …: in a decoder the last tokens have read most (SGPT, Muennighoff 2022)."""
    weights_N1 = (texts.positions_N + 1).to(hidden_ND.dtype)[:, None]
    lengths_B = _lengths(hidden_ND, texts)
    return _sums(hidden_ND * weights_N1, texts) / (lengths_B * (lengths_B + 1) / 2)[:, None]


WAYS: dict[str, Callable[[Tensor, Packed], Tensor]] = {
    "cls": partial(one_a_text, is_last=False),
    "max": _max,
    "mean": mean,
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _weighted,
    "lasttoken": partial(one_a_text, is_last=True),
}


def _sums(x_ND: Tensor, texts: Packed) -> Tensor:
    return x_ND.new_zeros(texts.num_texts, x_ND.shape[-1]).index_add(0, texts.text_N, x_ND)


def _lengths(x_ND: Tensor, texts: Packed) -> Tensor:
    return torch.tensor(texts.lengths, device=x_ND.device).clamp(min=1).to(x_ND.dtype)
