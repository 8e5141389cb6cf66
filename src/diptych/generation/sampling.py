"""Choosing the next token from its logits: greedy, temperature, top-k, top-p.

Each draw is a function of (seed, number of the answer, position), so an answer does not depend on what else is written in
the same batch, and the same seed gives the same text again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diptych.errors import UsageError
from diptych.streams import stream


@dataclass(frozen=True)
class Sampling:
    """How to choose: `temperature` 0 takes the most probable token.

    Raises:
        UsageError E601: a value that has no meaning.
    """

    temperature: float = 0.8
    top_k: int = 0
    """Choose among the k most probable tokens; 0 among all."""
    top_p: float = 0.95
    """Choose among the fewest tokens that hold this much probability (Holtzman et al. 2020)."""
    seed: int = 0

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, 0 <= self.temperature < math.inf, "0 <= temperature")
        _check("top_k", self.top_k, self.top_k >= 0, "0 <= top_k")
        _check("top_p", self.top_p, 0 < self.top_p <= 1, "0 < top_p <= 1")

    def choose(self, logits_BV: Tensor, answers: Sequence[int], position: int) -> Tensor:
        """The next token of each answer: int64 [B].

        Args:
            answers: the number of each answer, which keys its chance.
            position: how many tokens each has been given so far.
        """
        logits_BV = logits_BV.float()
        if self.temperature == 0:
            return logits_BV.argmax(-1)
        chances_BV, ids_BV = torch.softmax(logits_BV / self.temperature, dim=-1).sort(dim=-1, descending=True, stable=True)
        if self.top_k:
            chances_BV[:, self.top_k :] = 0
        before_BV = chances_BV.cumsum(-1) - chances_BV
        # A token stays while what lies before it is still short of top_p, so the first always stays.
        chances_BV = chances_BV.masked_fill(before_BV >= self.top_p * chances_BV.sum(-1, keepdim=True), 0)
        total_BV = chances_BV.double().cumsum(-1)
        draws = [stream(self.seed, "sample", answer, position).random() for answer in answers]
        at_B1 = torch.tensor(draws, dtype=torch.float64, device=logits_BV.device)[:, None] * total_BV[:, -1:]
        chosen_B1 = torch.searchsorted(total_BV, at_B1, right=True).clamp(max=logits_BV.shape[-1] - 1)
        return ids_BV.gather(-1, chosen_B1)[:, 0]


def _check(name: str, value: float, is_fine: bool, rule: str) -> None:
    if not is_fine:
        raise UsageError("E601", name=name, value=value, rule=rule)
