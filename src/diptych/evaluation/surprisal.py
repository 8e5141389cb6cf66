"""How surprising each word of a text is to a model that writes: -log2 of its probability after all that stands before it.

What reading times go by (Hale 2001, Levy 2008). A word is what spaces and the Chinese segmenter say; its surprisal is the sum over its
tokens, the space before it included where a token begins with one. Words that share a token are one, since nothing says where it is cut.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.errors import UsageError
from diptych.evaluation.intervals import Scores, ratio_score
from diptych.evaluation.likelihood import answer, continuation
from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.text.corpus import Corpus
from diptych.text.tokenizer import Tokenizer
from diptych.text.word_pieces import WordFinder


@dataclass(frozen=True)
class Surprisal:
    """A word, or a mark between words, and how surprising it is."""

    text: str
    start: int
    end: int
    """Its place in the text."""
    bits: float
    """Not a number for the first token of a model that has nothing to begin a text with."""
    is_word: bool
    """False for marks and spaces between words."""


def surprisals(net: Any, tokenizer: Tokenizer, text: str) -> list[Surprisal]:
    """Every word and mark of a text, in order; their bits add up to those of the whole text.

    Of a text longer than the context, each word is judged after at least half a context of what stands before it.

    Raises:
        UsageError E602: this model does not write. DataError E207: the text is Chinese, and its segmenter is not installed.
    """
    config = net.config
    if not config.writes or config.is_encoder_decoder or "lm" not in net.heads:
        raise UsageError("E602", family=config.family)
    ids, offsets = tokenizer.encode_offsets(text)
    if not ids:
        return []
    room = max(2, config.context_length - 1)
    half = room // 2
    rows = [continuation(tokenizer, [], ids[:room])]
    rows += [continuation(tokenizer, ids[start - half : start], ids[start : start + half]) for start in range(room, len(ids), half)]
    bits = np.concatenate([nats for nats, _best in answer(net, rows, is_causal=True)]) / math.log(2)
    bits = np.concatenate([np.full(len(ids) - len(bits), np.nan), bits])
    goes_on = WordFinder().continues(text, offsets)
    found: list[Surprisal] = []
    # White space belongs to what follows it, as where a token begins with a space.
    is_blank = [not text[start:end].strip() for start, end in offsets]
    begins = [token for token in np.flatnonzero(~goes_on).tolist() if not (token and is_blank[token - 1])]
    for first, stop in zip(begins, [*begins[1:], len(ids)], strict=True):
        start, end = offsets[first][0], max(offsets[token][1] for token in range(first, stop))
        start += len(text[start:end]) - len(text[start:end].lstrip())
        own = text[start:end]
        found.append(Surprisal(own, start, end, float(bits[first:stop].sum()), any(map(str.isalnum, own))))
    return found


def surprisal(net: Any, tokenizer: Tokenizer, data: Any, ledger: Ledger, *, limit: int | None = None) -> Scores:
    """The mean surprisal of the words of some texts, resampled by document.

    Args:
        limit: only so many documents.

    Raises:
        UsageError E602: this model does not write. E702: there is no word.
    """
    bits, counts = [], []
    for number, document in enumerate(data if isinstance(data, Corpus) else Corpus(data)):
        if limit is not None and number >= limit:
            break
        own = [each.bits for each in surprisals(net, tokenizer, document.text) if each.is_word and math.isfinite(each.bits)]
        ledger.add("texts", "texts without a word, left out", not own, where=document.where)
        if own:
            bits.append(sum(own))
            counts.append(len(own))
    if not counts:
        raise UsageError("E702")
    return Scores([ratio_score(mark("bits per word"), np.array(bits), np.array(counts, dtype=float))])
