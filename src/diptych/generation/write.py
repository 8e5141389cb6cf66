"""From settings to a strategy: whichever way answers are written, they grow in the same place and by the same steps."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from diptych.generation.beam import Beam, beam_answers
from diptych.generation.cached import begin_of
from diptych.generation.contrastive import contrastive_search
from diptych.generation.decode import decode
from diptych.generation.drafts import Draft, FromModel, FromText
from diptych.generation.settings import CANDIDATES, Decoding
from diptych.generation.speculative import speculate
from diptych.generation.writing import Writing


def write(net: Any, answers: Sequence[Writing], decoding: Decoding, *, max_new_tokens: int, ends: frozenset[int]) -> Iterator[None]:
    """Write all answers, in the way that `decoding` says; they have grown after each step.

    Args:
        answers: those to one prompt stand together.
        ends: tokens that end an answer; they are not part of it.

    Raises:
        UsageError E602: this model does not write. E603: a prompt is empty.
    """
    if decoding.beams > 1:
        return _search(net, answers, decoding, max_new_tokens=max_new_tokens, ends=ends)
    if decoding.contrastive:
        k = min(decoding.top_k or CANDIDATES, net.config.vocab_size)
        return contrastive_search(net, answers, decoding.contrastive, k, max_new_tokens=max_new_tokens, ends=ends)
    if decoding.draft is not None:
        drafts = [_draft(answer, decoding, max_new_tokens) for answer in answers]
        return speculate(net, answers, decoding, drafts, decoding.draft_tokens, max_new_tokens=max_new_tokens, ends=ends)
    return decode(net, answers, decoding, max_new_tokens=max_new_tokens, ends=ends)


def _draft(answer: Writing, decoding: Decoding, max_new_tokens: int) -> Draft:
    if decoding.draft == "text":
        return FromText(answer)
    return FromModel(decoding.draft.net, answer, decoding, max_new_tokens)


def _search(net: Any, answers: Sequence[Writing], decoding: Decoding, *, max_new_tokens: int, ends: frozenset[int]) -> Iterator[None]:
    """Search for the answers to each prompt: nothing is certain before the end, so that they come whole."""
    if not answers or not max_new_tokens:
        return
    beam = Beam(decoding.beams, decoding.length_penalty, decoding.beam_groups, decoding.diversity)
    own = [list(group) for _prompt, group in groupby(answers, lambda each: (tuple(each.prompt), each.source and tuple(each.source)))]
    prompts = [list(group[0].prompt)[begin_of(len(group[0].prompt), 0, net.config.context_length) :] for group in own]
    sources = [group[0].source for group in own]
    given = None if any(source is None for source in sources) else [source for source in sources if source is not None]
    found = beam_answers(net, prompts, beam, limits=[max_new_tokens] * len(own), ends=ends, sources=given)
    for group, each in zip(own, found, strict=True):
        for answer, one in zip(group, each):
            answer.tokens.extend(one.tokens)
            answer.ending = "end" if one.is_ended else "length"
    yield
