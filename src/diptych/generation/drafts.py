"""Guesses of what comes next that cost little: from the text itself, or from a smaller model.

A guess is only ever a guess. `speculative.py` takes of it what would have been written anyway, so that nothing here can change
an answer but the time that it takes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from diptych.generation.cached import Cached
from diptych.generation.sampling import Sampling
from diptych.generation.writing import Writing

LONGEST, SHORTEST = 4, 2
"""So many tokens that stood in the text before say what may follow; a single one says too little."""
BORDER = -1
"""Stands between a source and what is written from it: no guess goes across."""


class Draft(Protocol):
    """What guesses for one answer."""

    def propose(self, text: Sequence[int], most: int) -> list[int]:
        """At most So many tokens that may follow `text`, what the model sees of the answer."""
        ...


class FromText:
    """What followed the same few tokens where they last stood, in the prompt, in the source or in the answer (Saxena 2023)."""

    def __init__(self, answer: Writing) -> None:
        self._answer = answer
        self._before: list[int] = [*(answer.source or ()), BORDER]
        self._seen: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}

    def propose(self, text: Sequence[int], most: int) -> list[int]:
        self._learn()
        for size in range(min(LONGEST, len(self._seen)), SHORTEST - 1, -1):
            place = self._places.get(tuple(self._seen[-size:]))
            if place is not None:
                found = self._seen[place : place + most]
                while len(found) < most:
                    # The text goes round in a circle, and the guess with it.
                    found += found[: most - len(found)]
                return found[: found.index(BORDER)] if BORDER in found else found
        return []

    def _learn(self) -> None:
        """Take up what the answer has gained since: the place after each run of tokens that something follows."""
        whole = [*self._before, *self._answer.text]
        for end in range(max(1, len(self._seen)), len(whole)):
            for size in range(SHORTEST, min(LONGEST, end) + 1):
                self._places[tuple(whole[end - size : end])] = end
        self._seen = whole


class FromModel:
    """What a smaller model of the same tokens would write, by the same settings and with the same chance.

    With the same chance it draws what the larger one will draw wherever the two nearly agree.
    """

    def __init__(self, net: Any, answer: Writing, sampling: Sampling, max_new_tokens: int) -> None:
        self._net, self._answer, self._sampling, self._room = net, answer, sampling, max_new_tokens
        self._cached: Cached | None = None
        self._read: list[int] = []

    def propose(self, text: Sequence[int], most: int) -> list[int]:
        text = list(text)
        if len(text) + most > self._net.config.context_length:
            return []  # it cannot see so far
        found: list[int] = []
        while len(found) < most:
            logits_V = self._after([*text, *found])
            guess = replace(self._answer, tokens=[*self._answer.tokens, *found], alternatives=None)
            found += self._sampling.choose(logits_V[None], [guess])
        return found

    def _after(self, text: list[int]) -> Any:
        """The logits after `text`; what was read of it before is not read again."""
        common = min(len(self._read), len(text) - 1)
        while self._read[:common] != text[:common]:
            common -= 1
        if self._cached is None or not common or len(text) > self._cached.capacity:
            self._cached = Cached(self._net, [text], [self._answer.source], self._room)
            logits_BV = self._cached.first()
        else:
            self._cached.rewind([common])
            logits_BV = self._cached.logits(self._cached.read([text[common:]])[-1:])
        self._read = text
        return logits_BV[0]
