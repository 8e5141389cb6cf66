"""Texts as a model sees them: token ids with their special tokens, cut at the context or read in windows.

A window is a run of a text that fits the context. Windows overlap by a quarter, so that what one of them tears the next one shows whole.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from diptych.ledger import Ledger
from diptych.models.packed import Packed
from diptych.text.tokenizer import Tokenizer

OVERLAP = 4
"""Neighbouring windows share one token in so many."""


class Framed(NamedTuple):
    """A text, a pair, or a window of one, with its special tokens."""

    ids: np.ndarray
    types: np.ndarray


def frame_texts(
    texts: Sequence[tuple[str, ...]], tokenizer: Tokenizer, limit: int, ledger: Ledger, where: Sequence[str] | None = None
) -> list[Framed]:
    """Token ids and token types of each text or pair, with the special tokens, at most `limit` long.

    What does not fit is cut at the end, of the longer of a pair first, and counted.
    """
    framed = []
    for number, parts in enumerate(_encoded(texts, tokenizer)):
        room = max(0, limit - tokenizer.num_special(pair=len(parts) > 1))
        kept = _shorten(list(parts), room)
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
        place = where[number] if where else None
        longest = max(range(len(parts)), key=lambda part: len(parts[part]))
        kept = [part if at == longest else part[: room // 2] for at, part in enumerate(parts)]
        ledger.add("texts", "texts longer than the context, read in windows", total=len(texts), where=place)
        ledger.add("texts", "tokens cut off", sum(map(len, parts)) - sum(map(len, kept)))
        size = max(1, room - sum(len(part) for at, part in enumerate(kept) if at != longest))
        windows = []
        for first in _starts(len(kept[longest]), size):
            run = kept[longest][first : first + size]
            windows.append(_frame([run if at == longest else part for at, part in enumerate(kept)], tokenizer))
        found.append(windows)
    return found


def lay(framed: Sequence[Framed]) -> Packed:
    """Texts side by side in one flat row."""
    ids_N = torch.from_numpy(np.concatenate([each.ids for each in framed]))
    types_N = torch.from_numpy(np.concatenate([each.types for each in framed]))
    return Packed(ids_N, tuple(len(each.ids) for each in framed), types_N)


def _encoded(texts: Sequence[tuple[str, ...]], tokenizer: Tokenizer) -> list[tuple[list[int], ...]]:
    columns = [tokenizer.encode_batch([text[part] for text in texts]) for part in range(len(texts[0]) if texts else 0)]
    return list(zip(*columns, strict=True))


def _frame(parts: Sequence[list[int]], tokenizer: Tokenizer) -> Framed:
    ids, types = tokenizer.frame(*parts)
    if not ids:  # nothing to judge would be judged by the text before it
        ids, types = [tokenizer.eos_id or 0], [0]
    return Framed(np.asarray(ids, dtype=np.int64), np.asarray(types, dtype=np.int64))


def _starts(length: int, size: int) -> list[int]:
    """Where windows of `size` begin: the last one ends with the text, so that no window is a short rest."""
    step = max(1, size - size // OVERLAP)
    return [*range(0, length - size, step), length - size]


def _shorten(parts: list[list[int]], room: int) -> list[list[int]]:
    while sum(map(len, parts)) > max(0, room):
        longest = max(range(len(parts)), key=lambda part: len(parts[part]))
        others = sum(map(len, parts)) - len(parts[longest])
        second = max((len(part) for number, part in enumerate(parts) if number != longest), default=0)
        parts[longest] = parts[longest][: max(room - others, min(second, len(parts[longest]) - 1), 0)]
    return parts
