"""What a text so far says against a token, and what a person says for or against it: changes to logits before one is chosen."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def penalize_repetition(logits_V: Tensor, text: Sequence[int], penalty: float) -> None:
    """Make every token of `text` less probable: positive logits are divided, negative ones multiplied (Keskar et al. 2019)."""
    ids = torch.tensor(sorted(set(text)), device=logits_V.device)
    found = logits_V[ids]
    logits_V[ids] = torch.where(found > 0, found / penalty, found * penalty)


def penalize_use(logits_V: Tensor, written: Sequence[int], presence: float, frequency: float) -> None:
    """Take `presence` off every token that was written, and `frequency` for each time; the prompt does not count."""
    ids, counts = np.unique(np.asarray(written, dtype=np.int64), return_counts=True)
    logits_V[torch.from_numpy(ids).to(logits_V.device)] -= torch.from_numpy(presence + frequency * counts).to(logits_V)


def forbid_repeats(logits_V: Tensor, text: Sequence[int], size: int) -> None:
    """Forbid every token that would end a run of `size` tokens which `text` has already (Paulus et al. 2018)."""
    beginning = tuple(text[len(text) - size + 1 :])
    starts = range(len(text) - size + 1)
    banned = sorted({text[start + size - 1] for start in starts if tuple(text[start : start + size - 1]) == beginning})
    logits_V[torch.tensor(banned, dtype=torch.int64, device=logits_V.device)] = -torch.inf


def add_bias(logits_BV: Tensor, bias: Mapping[int, float]) -> None:
    """Add to the logit of each token that is named."""
    ids = torch.tensor(list(bias), device=logits_BV.device)
    logits_BV[:, ids] += torch.tensor(list(bias.values()), device=logits_BV.device)
