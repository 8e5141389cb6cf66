"""Speculative decoding (Leviathan et al. 2023; Chen et al. 2023) that changes nothing: a draft guesses some tokens, the model reads all
of them at once, and of the guess stays what the model would have written.

Reading ten tokens takes a processor hardly longer than reading one, since the weights come from memory once. The papers accept a
guess with a probability that leaves the distribution as it was. Here each token is chosen exactly as `decode` would choose it,
with the number that belongs to its place, and the guess stands as far as it is the same: so not only the distribution is the
same, but the very text that a seed writes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from diptych.errors import UsageError
from diptych.generation.drafts import Draft
from diptych.generation.going import Going
from diptych.generation.sampling import Sampling
from diptych.generation.writing import Writing

FIRST = 4
"""So many tokens are guessed at first: twice as many after a guess that was right, one more than was right after one that was not."""


def speculate(
    net: Any,
    answers: Sequence[Writing],
    sampling: Sampling,
    drafts: Sequence[Draft],
    most: int,
    *,
    max_new_tokens: int,
    ends: frozenset[int] = frozenset(),
) -> Iterator[None]:
    """Write what `decode` writes: some tokens of every answer that is not over, at each step.

    Args:
        drafts: who guesses for each answer; most: how many tokens at once.
        ends: tokens that end an answer; they are not part of it.

    Raises:
        UsageError E602: this model does not write. E603: a prompt is empty. E645: it is a recurrent net.
    """
    going = Going(net, answers)
    if net.config.cell:
        raise UsageError("E645", family=net.config.family)
    sizes = {id(answer): min(FIRST, most) for answer in answers}
    guessing = {id(answer): draft for answer, draft in zip(answers, drafts, strict=True)}
    while True:
        for answer in going.answers:
            answer.limit(max_new_tokens)
        if not going.leave():
            return
        logits_NV = going.read_if_full(max_new_tokens)
        state = going.kept
        assert state is not None
        if logits_NV is not None:
            guesses: list[list[int]] = [[] for _answer in going.answers]
            read = [length - 1 for length in state.lengths]
        else:
            read = state.lengths
            guesses = []
            for answer, length in zip(going.answers, read, strict=True):
                free = min(max_new_tokens - len(answer.tokens), state.capacity - length) - 1
                size = min(sizes[id(answer)], free)
                guess = guessing[id(answer)].propose(going.text(answer), size) if size > 0 else []
                guesses.append(guess)
            pieces = [[answer.text[-1], *guess] for answer, guess in zip(going.answers, guesses, strict=True)]
            logits_NV = state.logits(state.read(pieces))
        taken = _take(logits_NV, going.answers, guesses, sampling, ends)
        state.rewind([before + max(1, count) for before, count in zip(read, taken, strict=True)])
        for answer, guess, count in zip(going.answers, guesses, taken, strict=True):
            if guess:
                sizes[id(answer)] = min(most, 2 * len(guess) if count > len(guess) else count)
        if any(taken):
            yield


def _take(logits_NV: Any, answers: Sequence[Writing], guesses: Sequence[list[int]], sampling: Sampling, ends: frozenset[int]) -> list[int]:
    """Give each answer what the model chooses after its last token and after each that was guessed, as long as the guess is right.

    Returns:
        how many tokens each has gained.
    """
    places = [(answer, guess, size) for answer, guess in zip(answers, guesses, strict=True) for size in range(len(guess) + 1)]
    rows = [replace(answer, tokens=[*answer.tokens, *guess[:size]]) for answer, guess, size in places]
    chosen = dict(zip([(id(answer), size) for answer, _guess, size in places], zip(sampling.choose(logits_NV, rows), logits_NV)))
    gained = []
    for answer, guess in zip(answers, guesses, strict=True):
        count = 0
        for size in range(len(guess) + 1):
            token, logits_V = chosen[id(answer), size]
            count += answer.take(token, logits_V, ends)
            if answer.ending is not None or token != [*guess, None][size]:
                break
        gained.append(count)
    return gained
