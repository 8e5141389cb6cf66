"""To write a text from another one, token after token: how it is asked of an encoder-decoder, and of a decoder alone."""

from collections.abc import Sequence

import numpy as np
import torch

from diptych.packed import Packed
from diptych.tasks.task import Batch, Targets
from diptych.text.tokenizer import Tokenizer


def lay_written(sources: Sequence[np.ndarray], answers: Sequence[np.ndarray], start_id: int, keys: Sequence[int]) -> Batch:
    """Each answer asked of the decoder token by token, the tokens before it and its source shown.

    Args:
        sources: what the encoder reads, framed as the model is used to.
        answers: what is to be written, its end included.
        start_id: what the decoder begins with.
    """
    lengths = tuple(map(len, answers))
    shown_N = np.concatenate([np.concatenate([[start_id], answer[:-1]]) for answer in answers]).astype(np.int64)
    source = Packed(torch.from_numpy(np.concatenate(sources).astype(np.int64)), tuple(map(len, sources)))
    gold_N = torch.from_numpy(np.concatenate(answers).astype(np.int64))
    example_N = torch.from_numpy(np.repeat(np.arange(len(answers)), lengths))
    asked = Targets(torch.arange(len(gold_N)), gold_N, example_N)
    return Batch(Packed(torch.from_numpy(shown_N), lengths, source=source), {"lm": asked}, tuple(keys))


def lay_continued(sources: Sequence[np.ndarray], answers: Sequence[np.ndarray], keys: Sequence[int]) -> Batch:
    """Each answer asked of a decoder that has read its source as the beginning of the same text."""
    texts = [np.concatenate(pair) for pair in zip(sources, answers, strict=True)]
    is_asked = [np.arange(len(text)) >= len(source) for source, text in zip(sources, texts, strict=True)]
    return lay_asked(texts, is_asked, keys)


def lay_asked(texts: Sequence[np.ndarray], is_asked: Sequence[np.ndarray], keys: Sequence[int]) -> Batch:
    """Texts of which a decoder is asked for some tokens, each from all before it.

    Args:
        is_asked: for each text, bool for each of its tokens; the first is never asked for.
    """
    # The last token is only asked for, never read.
    ids_N = torch.from_numpy(np.concatenate([text[:-1] for text in texts]))
    gold_N = torch.from_numpy(np.concatenate([text[1:] for text in texts]))
    at_M = torch.from_numpy(np.concatenate([asked[1:] for asked in is_asked])).nonzero().flatten()
    lengths = tuple(len(text) - 1 for text in texts)
    example_N = torch.from_numpy(np.repeat(np.arange(len(texts)), lengths))
    return Batch(Packed(ids_N, lengths, is_causal=True), {"lm": Targets(at_M, gold_N[at_M], example_N[at_M])}, tuple(keys))


def frame_source(ids: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """What an encoder reads: [CLS] text [SEP], or text </s> where the tokenizer has no [CLS], as T5 does."""
    framed, _types = tokenizer.frame(ids.tolist())
    if tokenizer.cls_id is None and tokenizer.eos_id is not None:
        framed = [*framed, tokenizer.eos_id]
    return np.asarray(framed, dtype=np.int64)


def end_id(tokenizer: Tokenizer) -> int | None:
    """What an answer ends with."""
    return tokenizer.eos_id if tokenizer.eos_id is not None else tokenizer.sep_id
