"""The decoding loop: several answers at once, a token each at a time, each as if it were alone.

An answer that would outgrow the context goes on from the last half of it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from diptych.generation.going import Going
from diptych.generation.sampling import Sampling
from diptych.generation.writing import Writing


def decode(
    net: Any, answers: Sequence[Writing], sampling: Sampling, *, max_new_tokens: int, ends: frozenset[int] = frozenset()
) -> Iterator[None]:
    """Write on: a token of every answer that is not over, at each step; it stands in the answer when the step is done.

    Args:
        ends: tokens that end an answer; they are not part of it.

    Raises:
        UsageError E602: this model does not write. E603: a prompt is empty.
    """
    going = Going(net, answers)
    for _position in range(max_new_tokens):
        if not going.leave():
            return
        logits_BV = going.read_if_full(max_new_tokens)
        if logits_BV is None:
            assert going.kept is not None
            logits_BV = going.kept.following([answer.tokens[-1] for answer in going.answers])
        chosen = zip(going.answers, sampling.choose(logits_BV, going.answers), logits_BV, strict=True)
        has_grown = [answer.take(token, logits_V, ends) for answer, token, logits_V in chosen]
        if any(has_grown):
            yield
    for answer in going.answers:
        answer.limit(max_new_tokens)
