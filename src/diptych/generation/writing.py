"""An answer while it is written: what every strategy reads, goes on from and leaves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from diptych.streams import seed_for

Ending = Literal["end", "stop", "length"]
"""Why an answer is over: the model ended it, the caller did (a stop string), or there was no more room."""


class Guide(Protocol):
    """What an answer must keep to, token by token."""

    is_finished: bool
    """Whether nothing can follow."""

    def allowed(self) -> Tensor:
        """bool [V]: the tokens that may come next; one that ends the answer where it may end."""
        ...

    def take(self, token: int) -> None:
        """Go on with this token."""
        ...


@dataclass(frozen=True)
class Chance:
    """How probable the model found a token where it stands, before any setting of the draw, and what else it might have said."""

    token: int
    log_probability: float
    """In nats."""
    alternatives: tuple[tuple[int, float], ...]
    """The most probable tokens there, with their log-probabilities."""


def chances_of(logits_MV: Tensor, tokens: Sequence[int], most: int) -> list[Chance]:
    """How probable each of some tokens is where it stands, with the `most` most probable ones there."""
    logs_MV = torch.log_softmax(logits_MV.float(), dim=-1)
    best = logs_MV.topk(min(most, logs_MV.shape[-1]))
    own = logs_MV.gather(-1, torch.tensor(tokens, device=logs_MV.device)[:, None])[:, 0].tolist()
    rows = zip(tokens, own, best.indices.tolist(), best.values.tolist(), strict=True)
    return [Chance(token, log, tuple(zip(ids, logs, strict=True))) for token, log, ids, logs in rows]


@dataclass
class Writing:
    """One answer.

    Attributes:
        prompt: the tokens that it goes on from, at least one.
        source: what an encoder-decoder writes it from.
        key: which of its prompt's answers it is.
        alternatives: keep `chances` with so many alternatives for each token; None for none.
        tokens: what is written so far, without a token that ended it.
        ending: why it is over; a caller that wants no more of it sets "stop".
        origin: a number that follows from prompt and source. Chance is a function of the seed, this, `key` and the place of a token:
            it does not depend on what else is written at the same time, and answers to two prompts have nothing in common.
    """

    prompt: Sequence[int]
    source: Sequence[int] | None = None
    key: int = 0
    guide: Guide | None = None
    alternatives: int | None = None
    tokens: list[int] = field(default_factory=list)
    chances: list[Chance] = field(default_factory=list)
    ending: Ending | None = None
    origin: int = -1

    def __post_init__(self) -> None:
        if self.origin < 0:
            self.origin = seed_for(0, "origin", *self.prompt, "source", *(self.source or ()))

    @property
    def text(self) -> list[int]:
        """The prompt and what follows it."""
        return [*self.prompt, *self.tokens]

    def take(self, token: int, logits_V: Tensor, ends: frozenset[int]) -> bool:
        """Go on with a token, chosen where the model said `logits_V`; whether the answer has grown by it."""
        if token in ends:
            self.ending = "end"
            return False
        if self.alternatives is not None:
            self.chances += chances_of(logits_V[None], [token], self.alternatives)
        self.tokens.append(token)
        if self.guide is not None:
            self.guide.take(token)
            if self.guide.is_finished:
                self.ending = "end"
        return True

    def limit(self, max_new_tokens: int) -> None:
        """End where there are so many tokens."""
        if self.ending is None and len(self.tokens) >= max_new_tokens:
            self.ending = "length"
