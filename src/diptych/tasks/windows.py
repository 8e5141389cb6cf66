"""Texts as a model sees them: token ids with what stands around them, cut at the context or read in windows.

A window is a run of a text's tokens that fits the context. What a text as a whole is asked for is asked in windows that overlap by a
quarter, so that what one of them tears the next one shows whole; a task that marks places says itself how far its windows lie apart.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from diptych.ledger import Ledger
from diptych.packed import Packed
from diptych.text.tokenizer import Tokenizer

TOKENS_AT_ONCE = 4096
"""Tokens that are predicted in one pass."""
OVERLAP = 4
"""Neighbouring windows of a whole text share one token in so many."""

Frame = Callable[[list[int], int], tuple[list[int], list[int]]]
"""(a run, its first token in the text) -> (token ids, token types) with all that stands around the run."""


@dataclass
class Framed:
    """A text, a pair, or a run of one, with its special tokens."""

    ids: np.ndarray
    types: np.ndarray


@dataclass
class Window(Framed):
    """A run that knows its place in its text."""

    gold: np.ndarray
    """What is right: the tag of each token of the run, or where in the window an answer begins and ends."""
    row: int
    first: int
    """The run's first token in its text."""
    before: int
    """How many tokens stand before the run."""
    size: int
    """How many tokens the run has."""


@dataclass
class Windows:
    """Windows over texts, each an example."""

    windows: list[Window]

    def __len__(self) -> int:
        return len(self.windows)

    def num_tokens(self, index: int) -> int:
        return len(self.windows[index].ids)

    def owner(self, index: int) -> int:
        """The row of a window."""
        return self.windows[index].row


def frame_texts(
    texts: Sequence[tuple[str, ...]], tokenizer: Tokenizer, limit: int, ledger: Ledger, where: Sequence[str] | None = None
) -> list[Framed]:
    """Token ids and token types of each text or pair, with the special tokens, at most `limit` long.

    What does not fit is cut at the end, of the longer of a pair first, and counted.
    """
    framed = []
    for number, parts in enumerate(_encoded(texts, tokenizer)):
        room = max(0, limit - tokenizer.num_special(pair=len(parts) > 1))
        kept = shorten(list(parts), room)
        lost = sum(map(len, parts)) - sum(map(len, kept))
        if lost:
            place = where[number] if where else None
            ledger.add("texts", "texts longer than the context, cut at the end", total=len(texts), where=place)
            ledger.add("texts", "tokens cut off", lost)
        framed.append(_frame(kept, tokenizer))
    return framed


def frame_windows(
    texts: Sequence[tuple[str, ...]], tokenizer: Tokenizer, limit: int, ledger: Ledger, where: Sequence[str] | None = None
) -> list[list[Framed]]:
    """The windows of each text: one where it fits into `limit` tokens, so many that each token is in one of them where not.

    Of a pair the longer text is read in windows, each beside the whole of the other one; that one is cut where it takes more than half
    of the room, and counted.
    """
    found = []
    for number, parts in enumerate(_encoded(texts, tokenizer)):
        room = max(1, limit - tokenizer.num_special(pair=len(parts) > 1))
        if sum(map(len, parts)) <= room:
            found.append([_frame(parts, tokenizer)])
            continue
        runs = runs_of([len(part) for part in parts], room)
        longest = max(range(len(parts)), key=lambda part: len(parts[part]))
        lost = sum(len(part) - runs[0][at][1] for at, part in enumerate(parts) if at != longest)
        ledger.add("texts", "texts longer than the context, read in windows", total=len(texts), where=where[number] if where else None)
        ledger.add("texts", "tokens cut off", lost)
        found.append([_frame([part[first:stop] for part, (first, stop) in zip(parts, each, strict=True)], tokenizer) for each in runs])
    return found


def runs_of(sizes: Sequence[int], room: int) -> list[list[tuple[int, int]]]:
    """Of each window the (first, stop) of each part, for parts of these sizes that do not fit into `room` tokens together."""
    longest = max(range(len(sizes)), key=sizes.__getitem__)
    kept = [size if part == longest else min(size, room // 2) for part, size in enumerate(sizes)]
    own = max(1, room - sum(size for part, size in enumerate(kept) if part != longest))
    starts = _starts(sizes[longest], own, own - own // OVERLAP, is_flush=True)
    return [
        [(first, min(first + own, size)) if part == longest else (0, kept[part]) for part, size in enumerate(sizes)] for first in starts
    ]


def cut_windows(ids: Sequence[int], row: int, frame: Frame, before: int, room: int, step: int) -> list[Window]:
    """Runs of at most `room` tokens, each beginning `step` after the last; a text without tokens is one empty run.

    Args:
        before: how many tokens `frame` puts before a run.
    """
    windows = []
    for first in _starts(len(ids), room, step, is_flush=False):
        run = list(ids[first : first + room])
        framed, types = frame(run, first)
        none = np.zeros(0, np.int64)
        windows.append(Window(np.asarray(framed, np.int64), np.asarray(types, np.int64), none, row, first, before, len(run)))
    return windows


def lay(framed: Sequence[Framed]) -> Packed:
    """Texts or windows of them side by side in one flat row."""
    ids_N = torch.from_numpy(np.concatenate([each.ids for each in framed]))
    types_N = torch.from_numpy(np.concatenate([each.types for each in framed]))
    return Packed(ids_N, tuple(len(each.ids) for each in framed), types_N)


def by_size(sizes: Sequence[int], at_once: int = TOKENS_AT_ONCE, most: int | None = None) -> Iterator[list[int]]:
    """The numbers of texts of these sizes, those of like size together, few enough for one pass.

    Args:
        at_once: how large a rectangle is that holds the texts of a pass. most: and so many of them at most.
    """
    few: list[int] = []
    for number in sorted(range(len(sizes)), key=sizes.__getitem__):
        if few and ((len(few) + 1) * sizes[number] > at_once or len(few) == most):
            yield few
            few = []
        few.append(number)
    if few:
        yield few


def _encoded(texts: Sequence[tuple[str, ...]], tokenizer: Tokenizer) -> list[tuple[list[int], ...]]:
    columns = [tokenizer.encode_batch([text[part] for text in texts]) for part in range(len(texts[0]) if texts else 0)]
    return list(zip(*columns, strict=True))


def _frame(parts: Sequence[list[int]], tokenizer: Tokenizer) -> Framed:
    ids, types = tokenizer.frame(*parts)
    if not ids:  # nothing to judge would be judged by the text before it
        ids, types = [tokenizer.eos_id or 0], [0]
    return Framed(np.asarray(ids, dtype=np.int64), np.asarray(types, dtype=np.int64))


def _starts(length: int, size: int, step: int, *, is_flush: bool) -> list[int]:
    """Where runs of `size` tokens begin, each `step` after the last; with `is_flush` the last ends with the text and is no short rest."""
    starts = [0]
    while starts[-1] + size < length:
        starts.append(starts[-1] + max(1, min(step, size)))
    if is_flush:
        starts[-1] = max(0, length - size)
    return starts


def shorten(parts: list[list[int]], room: int) -> list[list[int]]:
    while sum(map(len, parts)) > max(0, room):
        longest = max(range(len(parts)), key=lambda part: len(parts[part]))
        others = sum(map(len, parts)) - len(parts[longest])
        second = max((len(part) for number, part in enumerate(parts) if number != longest), default=0)
        parts[longest] = parts[longest][: max(room - others, min(second, len(parts[longest]) - 1), 0)]
    return parts
