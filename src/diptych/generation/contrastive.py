"""Contrastive search (Su et al. 2022): a probable token whose vector is unlike those of the text so far, so that greedy writing
does not go round in circles.

Of the k most probable tokens the one is taken that is best by (1 - alpha) p(token) - alpha max cos(its vector, theirs), eq. 5 of the
paper. A candidate's vector is known once the model has read it, so that each step reads k tokens of every text.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from diptych.generation.cached import Cached, begin_of, check_writes
from diptych.generation.writing import Writing

# Shapes: B answers, K candidates of each, R all candidates in a row, T tokens, D hidden, V vocabulary.


def contrastive_search(
    net: Any, answers: Sequence[Writing], alpha: float, k: int, *, max_new_tokens: int, ends: frozenset[int] = frozenset()
) -> Iterator[None]:
    """Write on: a token of every answer that is not over, at each step, until the context is full.

    Args:
        alpha: how much unlikeness weighs against probability; 0 is greedy.
        k: how many tokens are candidates, at most the vocabulary.
        ends: tokens that end an answer; they are not part of it.

    Raises:
        UsageError E602: this model does not write. E603: a prompt is empty.
    """
    check_writes(net, answers)
    if not answers:
        return
    net.eval()
    context = net.config.context_length
    # A candidate is read before it is chosen, so that a place must be free.
    texts = [list(answer.prompt)[begin_of(len(answer.prompt), 0, context - 1) :] for answer in answers]
    limits = {id(answer): min(max_new_tokens, context - len(text)) for answer, text in zip(answers, texts, strict=True)}
    cached = Cached(net, texts, [answer.source for answer in answers], max_new_tokens)
    past = cached.first_hidden()
    logits_BV = cached.logits(torch.stack([hidden_TD[-1] for hidden_TD in past]))
    going, past = list(answers), [F.normalize(hidden_TD, dim=-1) for hidden_TD in past]
    for position in range(max_new_tokens):
        rows = [row for row, answer in enumerate(going) if answer.ending is None and position < limits[id(answer)]]
        if not rows:
            break
        cached.keep([row for row in rows for _candidate in range(k)])
        going, past, logits_BV = [going[row] for row in rows], [past[row] for row in rows], logits_BV[rows]
        best = torch.softmax(logits_BV.float(), dim=-1).topk(k, dim=-1)
        hidden_RD = cached.read([[token] for token in best.indices.flatten().tolist()])
        units_RD = F.normalize(hidden_RD, dim=-1)
        likeness_BK = torch.stack([(unit_KD @ seen_TD.T).amax(-1) for unit_KD, seen_TD in zip(units_RD.split(k), past, strict=True)])
        chosen = ((1 - alpha) * best.values - alpha * likeness_BK).argmax(-1)
        taken = [k * row + place for row, place in enumerate(chosen.tolist())]
        tokens = best.indices.gather(-1, chosen[:, None])[:, 0].tolist()
        has_grown = [answer.take(token, logits_V, ends) for answer, token, logits_V in zip(going, tokens, logits_BV, strict=True)]
        cached.keep(taken)
        past = [torch.cat((seen_TD, units_RD[row : row + 1])) for seen_TD, row in zip(past, taken, strict=True)]
        logits_BV = cached.logits(hidden_RD[taken])
        if any(has_grown):
            yield
    for answer in answers:
        answer.limit(limits[id(answer)])
