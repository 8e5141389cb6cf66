"""Rows of tokens: how documents lie side by side, so that each token of a corpus is seen exactly once per epoch.

A row is only a container. The texts in it never see each other: attention and positions stop at their borders.
"""

import copy
from dataclasses import dataclass

import numpy as np

from diptych.text.shards import TokenShards


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of tokens of one document."""

    document: int
    start: int
    """Where it begins in the flat tokens of the corpus."""
    stop: int


class StreamRows:
    """The corpus as one stream, cut every `row_length` tokens; what to predict of a row is the row, one token later.

    The stream of a corpus that was written with a separator is `sep d1 sep d2 … sep dn sep`: a document owns the separator
    before it, and the one after it is the last thing it predicts. So every token but the first is a target exactly once.
    """

    def __init__(self, shards: TokenShards, row_length: int) -> None:
        assert row_length >= 1
        self.shards = shards
        self.row_length = row_length
        self._inputs = max(0, shards.num_tokens - 1)

    def __len__(self) -> int:
        return -(-self._inputs // self.row_length)

    def num_tokens(self, index: int) -> int:
        return min(self._inputs, (index + 1) * self.row_length) - index * self.row_length

    def judged(self) -> "StreamRows":
        """The same corpus in the rows in which it is judged."""
        return DocumentRows(self.shards, self.row_length)

    def apart(self) -> "StreamRows":
        """The same corpus with each document in rows of its own."""
        return DocumentRows(self.shards, self.row_length)

    def row(self, index: int) -> list[Piece]:
        """The pieces of row `index`; a document that does not fit goes on in the next row."""
        start = index * self.row_length
        stop = start + self.num_tokens(index)
        first = int(np.searchsorted(self.shards.borders, start, side="right")) - 1
        pieces = []
        while start < stop:
            end = min(stop, int(self.shards.borders[first + 1]))
            if end > start:
                pieces.append(Piece(first, start, end))
            start, first = end, first + 1
        return pieces


class DocumentRows(StreamRows):
    """The same stream with each document in rows of its own, cut only where it is longer than a row.

    What a document costs then depends on nothing beside it, which is how a corpus is judged.
    """

    def __init__(self, shards: TokenShards, row_length: int) -> None:
        super().__init__(shards, row_length)
        ends = np.minimum(shards.borders[1:], self._inputs)
        counts = -(-np.maximum(0, ends - shards.borders[:-1]) // row_length)
        self._documents = np.repeat(np.arange(len(counts)), counts)
        nth = np.arange(len(self._documents)) - np.repeat(np.cumsum(counts) - counts, counts)
        self._starts = shards.borders[self._documents] + nth * row_length
        self._stops = np.minimum(self._starts + row_length, ends[self._documents])

    def __len__(self) -> int:
        return len(self._documents)

    def num_tokens(self, index: int) -> int:
        return int(self._stops[index] - self._starts[index])

    def judged(self) -> "StreamRows":
        return self

    def apart(self) -> "StreamRows":
        return self

    def owner(self, index: int) -> int:
        """The document of a row."""
        return int(self._documents[index])

    def row(self, index: int) -> list[Piece]:
        return [Piece(int(self._documents[index]), int(self._starts[index]), int(self._stops[index]))]


class TextRows:
    """Whole documents side by side in rows of at most `row_length` tokens, cut only where one is longer than a row.

    Args:
        extra: tokens that each piece will be given besides its own, for example [CLS] and [SEP].
    """

    def __init__(self, shards: TokenShards, row_length: int, extra: int) -> None:
        assert row_length > extra
        self.shards = shards
        self.extra = extra
        self.pieces = cut_documents(shards.borders, row_length - extra)
        lengths = self.pieces[:, 2] - self.pieces[:, 1] + extra
        self.rows = fill_rows(lengths, row_length)

    def __len__(self) -> int:
        return len(self.rows) - 1

    def num_tokens(self, index: int) -> int:
        pieces = self.pieces[self.rows[index] : self.rows[index + 1]]
        return int((pieces[:, 2] - pieces[:, 1] + self.extra).sum())

    def row(self, index: int) -> list[Piece]:
        return [Piece(*map(int, piece)) for piece in self.pieces[self.rows[index] : self.rows[index + 1]]]

    def apart(self) -> "TextRows":
        """The same pieces, each in a row of its own."""
        alone = copy.copy(self)
        alone.rows = np.arange(len(self.pieces) + 1)
        return alone

    def owner(self, index: int) -> int:
        """The document of a row that holds one piece."""
        return int(self.pieces[self.rows[index], 0])


def cut_documents(borders: np.ndarray, longest: int) -> np.ndarray:
    """Each document as equal pieces of at most `longest` tokens: int64 rows of (document, start, stop).

    Equal, so that no piece is a stub of a few tokens that can learn nothing.
    """
    lengths = np.diff(borders)
    counts = -(-lengths // longest)
    documents = np.repeat(np.arange(len(lengths)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    nth = np.arange(len(documents)) - first
    begin = borders[documents] + nth * lengths[documents] // counts[documents]
    end = borders[documents] + (nth + 1) * lengths[documents] // counts[documents]
    return np.stack([documents, begin, end], axis=1).astype(np.int64)


def fill_rows(lengths: np.ndarray, row_length: int) -> np.ndarray:
    """Where each row begins when pieces of these lengths are laid in order: int64 [num_rows + 1]."""
    starts, used = [0], 0
    for number, length in enumerate(lengths.tolist()):
        if used and used + length > row_length:
            starts.append(number)
            used = 0
        used += length
    if len(lengths):
        starts.append(len(lengths))
    return np.asarray(starts, dtype=np.int64)
