"""The decoding loop: several answers at once, a token each at a time, each as if it were alone.

An answer that would outgrow the context goes on from the last half of it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from diptych.generation.cached import Cached, begin_of, check_writes
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
    check_writes(net, answers)
    net.eval()
    begins = {id(answer): 0 for answer in answers}
    going = list(answers)
    state: Cached | None = None
    for position in range(max_new_tokens):
        # Those that their reader wants no more of go as well.
        rows = [row for row, answer in enumerate(going) if answer.ending is None]
        if not rows:
            return
        if state is not None:
            state.keep(rows)
        going = [going[row] for row in rows]
        if state is None or state.is_full:
            for answer in going:
                begins[id(answer)] = begin_of(len(answer.text), begins[id(answer)], net.config.context_length)
            texts = [answer.text[begins[id(answer)] :] for answer in going]
            state = Cached(net, texts, [answer.source for answer in going], max_new_tokens - position)
            logits_BV = state.first()
        else:
            logits_BV = state.following([answer.tokens[-1] for answer in going])
        chosen = zip(going, sampling.choose(logits_BV, going), logits_BV, strict=True)
        has_grown = [answer.take(token, logits_V, ends) for answer, token, logits_V in chosen]
        if any(has_grown):
            yield
    for answer in going:
        answer.limit(max_new_tokens)
