"""To write a text from another one, token after token: how it is asked of an encoder-decoder, and of a decoder alone."""

from collections.abc import Sequence

import numpy as np
import torch

from diptych.models.packed import Packed
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
    ids, at, start = [], [], 0
    for source, answer in zip(sources, answers, strict=True):
        ids.append(np.concatenate([source, answer[:-1]]))
        at.append(start + len(source) - 1 + np.arange(len(answer)))
        start += len(ids[-1])
    gold_M, at_M = torch.from_numpy(np.concatenate(answers)), torch.from_numpy(np.concatenate(at))
    example_M = torch.from_numpy(np.repeat(np.arange(len(answers)), list(map(len, answers))))
    packed = Packed(torch.from_numpy(np.concatenate(ids)), tuple(map(len, ids)), is_causal=True)
    return Batch(packed, {"lm": Targets(at_M, gold_M, example_M)}, tuple(keys))


def frame_source(ids: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """What an encoder reads: [CLS] text [SEP], or text </s> where the tokenizer has no [CLS], as T5 does."""
    framed, _types = tokenizer.frame(ids.tolist())
    if tokenizer.cls_id is None and tokenizer.eos_id is not None:
        framed = [*framed, tokenizer.eos_id]
    return np.asarray(framed, dtype=np.int64)


def end_id(tokenizer: Tokenizer) -> int | None:
    """What an answer ends with."""
    return tokenizer.eos_id if tokenizer.eos_id is not None else tokenizer.sep_id
