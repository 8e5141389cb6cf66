"""Texts that are cut in two: does B follow A (BERT), or are the two in order (ALBERT)?

Next sentence (Devlin et al. 2018): half of the pairs are true; in the other half two texts have swapped their B's, always
with a text of another document, so that a negative is never a true continuation and every token is still seen exactly once
per epoch. A corpus of one document has no such negatives.

Sentence order (Lan et al. 2019): half of the texts show B before A. The topic gives nothing away, so it is the harder
question, and one document is enough for it.
"""

from functools import lru_cache

import numpy as np

from diptych.streams import stream
from diptych.tasks.packing import TextRows, cut_documents, fill_rows
from diptych.tasks.task import Place
from diptych.text.shards import TokenShards

FOLLOWS, RANDOM = 0, 1
"""The classes of the head for pairs, numbered as in BERT's own code and in Hugging Face's."""
ORDERED, SWAPPED = 0, 1
"""The same for sentence order, numbered as in ALBERT's."""
Run = tuple[int, int]
"""(start, stop) in the flat tokens of the corpus."""


class PairRows(TextRows):
    """Rows of texts that are each cut in two, for next-sentence prediction.

    A text takes at most three quarters of a row and each half at most one half of it, so that any two halves fit.
    """

    def __init__(self, shards: TokenShards, row_length: int, ends: np.ndarray) -> None:
        self.shards = shards
        self.extra = 3
        half = (row_length - self.extra) // 2
        self.pieces = cut_documents(shards.borders, max(2, half * 3 // 2))
        self.cuts = np.array([_cut(shards.tokens[start:stop], ends, half) for _, start, stop in self.pieces], np.int64)
        lengths = self.pieces[:, 2] - self.pieces[:, 1] + self.extra
        self.rows = fill_rows(lengths, row_length)
        self.partners = lru_cache(maxsize=4)(self._partners)

    def halves(self, number: int) -> tuple[Run, Run]:
        """A and B of one text."""
        _, start, stop = map(int, self.pieces[number])
        middle = start + int(self.cuts[number])
        return (start, middle), (middle, stop)

    def pair(self, number: int, place: Place) -> tuple[Run, Run, int | None]:
        """(first half, second half, what they are) of one text as it is shown at `place`.

        A text of a single token has an empty first half and is not asked.
        """
        partner = int(self.partners(place.seed, place.epoch)[number])
        first, second = self.halves(number)[0], self.halves(partner)[1]
        return first, second, None if self.cuts[number] == 0 else FOLLOWS if partner == number else RANDOM

    def _partners(self, seed: int, epoch: int) -> np.ndarray:
        """For each text, the text whose B it shows in this epoch: itself, or one of another document.

        The texts are shuffled document by document, and each is coupled with the one half of the corpus further on: both
        are of one document only where that document is more than half of all. A couple swaps with the chance that makes
        half of all texts negatives, or always where there are too few couples for that.
        """
        draw = stream(seed, "next sentence", epoch)
        partners = np.arange(len(self.pieces))
        splits = np.flatnonzero(self.cuts)
        if len(splits) < 2:
            return partners
        documents = self.pieces[splits, 0]
        shuffled = splits[np.lexsort((draw.random(len(splits)), draw.random(documents[-1] + 1)[documents]))]
        half = len(shuffled) // 2
        first, second = shuffled[:half], shuffled[half : 2 * half]
        swappable = self.pieces[first, 0] != self.pieces[second, 0]
        chance = 0.5 * len(splits) / max(1, 2 * swappable.sum())
        swaps = swappable & (draw.random(half) < chance)
        partners[first[swaps]], partners[second[swaps]] = second[swaps], first[swaps]
        return partners


class OrderRows(PairRows):
    """The same texts, for sentence order: half of them show their second half first."""

    def pair(self, number: int, place: Place) -> tuple[Run, Run, int | None]:
        first, second = self.halves(number)
        if self.cuts[number] == 0:
            return first, second, None
        is_swapped = stream(place.seed, "sentence order", place.epoch, number).random() < 0.5
        return (second, first, SWAPPED) if is_swapped else (first, second, ORDERED)


def _cut(tokens: np.ndarray, ends: np.ndarray, half: int) -> int:
    """Where B begins: after the end of a sentence nearest to the middle, or in the middle; 0 for a single token.

    Neither side is longer than `half`.
    """
    length = len(tokens)
    if length < 2:
        return 0
    low, high = max(1, length - half), min(half, length - 1)
    places = np.flatnonzero(ends[tokens[low - 1 : high]]) + low
    if not len(places):
        return min(max(length // 2, low), high)
    return int(places[np.argmin(np.abs(places - length / 2))])
