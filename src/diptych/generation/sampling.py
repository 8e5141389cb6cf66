"""Choosing the next token from its logits: what is against it, which may be drawn, and the draw.

The draw adds to each score a number of its own, a function of (seed, prompt, which answer, place in it, token), and takes the largest
sum: with -log(-log u) that is a draw from the distribution (Gumbel 1954). So an answer does not depend on what else is written
in the same batch, the same seed gives the same text again, and two models that nearly agree mostly draw the same token, which
is what speculative decoding lives on.
"""

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from diptych.config import Settings
from diptych.generation.penalties import add_bias, forbid_repeats, penalize_repetition, penalize_use
from diptych.generation.truncation import min_p, top_k, top_p, typical
from diptych.generation.writing import Writing
from diptych.streams import uniforms

COLDEST = 1e-5
"""Below this a temperature is taken for 0: nothing but the most probable token has a chance, and numbers overflow."""


class Sampling(Settings):
    """How each token is chosen."""

    temperature: float = Field(default=0.8, ge=0)
    """0 takes the most probable token."""
    top_k: int = Field(default=0, ge=0)
    """Choose among the k most probable tokens; 0 among all."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Choose among the fewest tokens that hold this much probability."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Choose among tokens that are at least this share as probable as the most probable one."""
    typical: float = Field(default=1.0, gt=0, le=1)
    """Choose among the tokens that are about as surprising as expected, as many as hold this much probability."""
    repetition_penalty: float = Field(default=1.0, gt=0)
    """Divides the logits of tokens that stand in the text already, the prompt included; 1 leaves them alone."""
    presence_penalty: float = 0.0
    """Is taken off the logit of every token that was written."""
    frequency_penalty: float = 0.0
    """Is taken off as often as the token was written."""
    no_repeat_ngram: int = Field(default=0, ge=0)
    """No run of so many tokens stands twice in the text; 0 allows all."""
    logit_bias: dict[int | str, float] = {}
    """Is added to the logits of tokens, which are named by number or by text."""
    seed: int = 0

    @property
    def is_greedy(self) -> bool:
        return self.temperature < COLDEST

    def choose(self, logits_BV: Tensor, answers: Sequence[Writing]) -> list[int]:
        """The next token of each answer."""
        scores_BV = self._scores(logits_BV, answers)
        if self.is_greedy:
            return scores_BV.argmax(-1).tolist()
        scores_BV = scores_BV / self.temperature
        scores_BV = top_p(top_k(scores_BV, self.top_k) if self.top_k else scores_BV, self.top_p)
        scores_BV = typical(min_p(scores_BV, self.min_p), self.typical)
        return [self._draw(scores_V, answer) for scores_V, answer in zip(scores_BV.double().cpu().numpy(), answers, strict=True)]

    def _scores(self, logits_BV: Tensor, answers: Sequence[Writing]) -> Tensor:
        """The logits in float32 with all that is against a token, -inf at those that an answer's guide does not allow."""
        logits_BV = logits_BV.float()
        scores_BV = logits_BV
        is_guided = any(answer.guide for answer in answers)
        if self._has_penalty or self.logit_bias or is_guided:
            scores_BV = logits_BV.clone()
            for scores_V, answer in zip(scores_BV, answers, strict=True):
                self._penalize(scores_V, answer)
            if self.logit_bias:
                add_bias(scores_BV, {int(token): bias for token, bias in self.logit_bias.items()})
            for row, answer in enumerate(answers):
                if answer.guide is not None:
                    is_banned_V = ~answer.guide.allowed().to(scores_BV.device)
                    scores_BV[row, is_banned_V] = -torch.inf
                    logits_BV = logits_BV.clone()
                    logits_BV[row, is_banned_V] = -torch.inf
        # Where penalties leave no token at all, they give way; what a guide forbids stays forbidden.
        is_empty_B1 = scores_BV.amax(-1, keepdim=True) == -torch.inf
        return torch.where(is_empty_B1, logits_BV, scores_BV)

    @property
    def _has_penalty(self) -> bool:
        return bool(self.repetition_penalty != 1 or self.presence_penalty or self.frequency_penalty or self.no_repeat_ngram)

    def _penalize(self, scores_V: Tensor, answer: Writing) -> None:
        if self.repetition_penalty != 1:
            penalize_repetition(scores_V, answer.text, self.repetition_penalty)
        if self.presence_penalty or self.frequency_penalty:
            penalize_use(scores_V, answer.tokens, self.presence_penalty, self.frequency_penalty)
        if self.no_repeat_ngram:
            forbid_repeats(scores_V, answer.text, self.no_repeat_ngram)

    def _draw(self, scores_V: np.ndarray, answer: Writing) -> int:
        ids = np.flatnonzero(scores_V > -np.inf)
        chance = uniforms(ids, self.seed, "sample", answer.origin, answer.key, len(answer.tokens))
        return int(ids[np.argmax(scores_V[ids] - np.log(-np.log(chance)))])
