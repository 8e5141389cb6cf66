"""Text with pieces taken out, for a model that reads the damaged text and writes what was there. Numbers only, no network.

Span corruption (Raffel et al. 2020, T5, section 3.1.4): spans of the text are replaced by sentinels, and what is to be written
is the spans, each after its sentinel. Text infilling (Lewis et al. 2020, BART, section 2.2): each span, of a length drawn from
Poisson(3) and so sometimes none, becomes one [MASK], and what is to be written is the whole text; its sentences may have been
shuffled besides.
"""

from collections.abc import Sequence

import numpy as np

# Shapes: N tokens of a text, K spans.


def corrupt_spans(
    ids_N: np.ndarray, sentinels: Sequence[int], rate: float, mean_length: float, draw: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(what is read, what is to be written) with about `rate` of the tokens taken out, in spans of `mean_length` on average.

    As in T5, the number of tokens and of spans is settled, and both spans and gaps are cut at random. T5's own code ends every
    text with a span, so that a short one always hides its last word; here a text begins and ends with either. With fewer
    sentinels than spans, the spans are fewer and longer. Each token is in one of the two, exactly once.
    """
    size = len(ids_N)
    hidden = min(max(1, round(size * rate)), max(1, size - 1))
    spans = max(1, min(round(hidden / mean_length), hidden, size - hidden + 1, len(sentinels)))
    spans_K = _cut(hidden, spans, draw)
    gaps = _cut(size - hidden + 2, spans + 1, draw)
    gaps[[0, -1]] -= 1
    marks_K = np.asarray(sentinels[:spans], dtype=np.int64)[:, None]
    borders = np.cumsum(np.append(np.stack([gaps[:-1], spans_K], axis=1).ravel(), gaps[-1]))[:-1]
    parts = np.split(ids_N, borders)
    source = [part for gap, mark in zip(parts[:-1:2], marks_K, strict=True) for part in (gap, mark)]
    target = [part for span, mark in zip(parts[1::2], marks_K, strict=True) for part in (mark, span)]
    return np.concatenate([*source, parts[-1]]), np.concatenate(target)


def infill(
    ids_N: np.ndarray, mask_id: int, rate: float, mean_length: float, draw: np.random.Generator, room: int | None = None
) -> np.ndarray:
    """The text with about `rate` of its tokens in spans of Poisson(`mean_length`) tokens, each shown as one `mask_id`.

    A span of no tokens is a mask where nothing is missing; the model has to find out how many are.

    Args:
        room: the most tokens that may come out; masks where nothing is missing are left out for it.
    """
    size = len(ids_N)
    hidden = min(size, max(1, round(size * rate)))
    lengths: list[int] = []
    while sum(lengths) < hidden:
        lengths.append(min(int(draw.poisson(mean_length)), hidden - sum(lengths)))
    kept = size - hidden
    while room is not None and kept + len(lengths) > room and 0 in lengths:
        lengths.remove(0)
    spans_K = draw.permutation(np.array(lengths, dtype=np.int64))
    # Any places among the tokens that are kept, alike; spans may come to lie side by side.
    before_K = np.sort(draw.integers(0, kept + 1, len(spans_K)))
    starts_K = before_K + np.cumsum(spans_K) - spans_K
    parts: list[np.ndarray] = []
    end = 0
    for start, length in zip(starts_K.tolist(), spans_K.tolist(), strict=True):
        parts += [ids_N[end:start], np.array([mask_id], dtype=np.int64)]
        end = start + length
    return np.concatenate([*parts, ids_N[end:]])


def shuffle_sentences(ids_N: np.ndarray, ends_V: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The sentences of a text in another order.

    Args:
        ends_V: which tokens of the vocabulary end a sentence.
    """
    borders = np.flatnonzero(ends_V[ids_N]) + 1
    sentences = [part for part in np.split(ids_N, borders) if len(part)]
    return np.concatenate([sentences[place] for place in draw.permutation(len(sentences))]) if sentences else ids_N


def _cut(total: int, parts: int, draw: np.random.Generator) -> np.ndarray:
    """`total` as a sum of `parts` numbers of at least 1, every way to do so alike: int64 [parts]."""
    cuts = np.sort(draw.choice(total - 1, parts - 1, replace=False)) + 1 if parts > 1 else np.empty(0, np.int64)
    return np.diff(np.concatenate([[0], cuts, [total]])).astype(np.int64)
