"""Texts that may be longer than the context, read in windows: runs of their tokens, framed as the model sees them.

Also the way from tokens back to characters, which every task that marks places in a text needs.
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from diptych.models.packed import Packed
from diptych.text.tokenizer import Tokenizer

TOKENS_AT_ONCE = 4096
"""Tokens that are predicted in one pass."""
JOINER = "\u200d"
"""Stands between the parts of one emoji."""

Frame = Callable[[list[int], int], tuple[list[int], list[int]]]
"""(a run, its first token in the text) -> (token ids, token types) with all that stands around the run."""


@dataclass
class Window:
    """A run of a text's tokens as the model sees it, framed."""

    ids: np.ndarray
    types: np.ndarray
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


def cut_windows(ids: Sequence[int], row: int, frame: Frame, before: int, room: int, step: int) -> list[Window]:
    """Runs of at most `room` tokens, each beginning `step` after the last; a text without tokens is one empty run.

    Args:
        before: how many tokens `frame` puts before a run.
    """
    windows = []
    for first in range(0, max(1, len(ids)), max(1, min(step, room))):
        run = list(ids[first : first + room])
        framed, types = frame(run, first)
        none = np.zeros(0, np.int64)
        windows.append(Window(np.asarray(framed, np.int64), np.asarray(types, np.int64), none, row, first, before, len(run)))
        if first + room >= len(ids):
            break
    return windows


def lay_windows(windows: Sequence[Window]) -> Packed:
    """Windows in one flat row."""
    ids_N = torch.from_numpy(np.concatenate([window.ids for window in windows]))
    types_N = torch.from_numpy(np.concatenate([window.types for window in windows]))
    return Packed(ids_N, tuple(len(window.ids) for window in windows), types_N)


def encode_places(texts: Sequence[str], tokenizer: Tokenizer) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """The tokens of each text with the characters that they stand for.

    The space that a piece of BPE begins with is not one of them; the marks that a letter or an emoji carries are, even where the
    tokenizer takes them off.
    """
    encoded = []
    for text in texts:
        ids, offsets = tokenizer.encode_offsets(text)
        places = []
        for number, (start, stop) in enumerate(offsets):
            start += len(text[start:stop]) - len(text[start:stop].lstrip())
            limit = offsets[number + 1][0] if number + 1 < len(offsets) else len(text)
            while stop > start and stop < limit and _clings(text, stop):
                stop += 1
            places.append((start, stop))
        encoded.append((ids, places))
    return encoded


def by_size(windows: Sequence[Window]) -> Iterator[list[int]]:
    """The numbers of the windows, those of like length together, few enough for one pass."""
    few: list[int] = []
    for number in sorted(range(len(windows)), key=lambda number: len(windows[number].ids)):
        if few and (len(few) + 1) * len(windows[number].ids) > TOKENS_AT_ONCE:
            yield few
            few = []
        few.append(number)
    if few:
        yield few


def _clings(text: str, at: int) -> bool:
    """Whether a character belongs to the one before it: a combining mark, or what a joiner ties to it."""
    return unicodedata.category(text[at]).startswith("M") or text[at] == JOINER or text[at - 1] == JOINER
