"""BERT's pretraining: fill in masked tokens, and judge whether one passage follows another (Devlin et al. 2018).

Masked words: 15 % of the tokens are asked; of those 80 % are shown as [MASK], 10 % as another token, 10 % as they are.
Next sentence: each text is a pair A, B. Half of the pairs are true; in the other half two texts have swapped their B's,
always with a text of another document, so that a negative is never a true continuation and every token is still seen
exactly once per epoch. A corpus of one document has no such negatives, and is told so.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.models.packed import Packed
from diptych.streams import stream
from diptych.tasks.packing import TextRows, cut_documents, fill_rows
from diptych.tasks.task import Batch, HeadTask, LanguageSettings, Place, Targets
from diptych.text.shards import TokenShards
from diptych.text.tokenizer import Tokenizer

FOLLOWS, RANDOM = 0, 1
"""The classes of the next-sentence head, numbered as in BERT's own code and in Hugging Face's."""


class MaskedLMSettings(LanguageSettings):
    """`task: {name: masked-lm, text: corpus/}`"""

    name: Literal["masked-lm"] = "masked-lm"
    mask_rate: float = Field(default=0.15, gt=0, lt=1)
    nsp: bool | None = None
    """Judge whether B follows A as well; None does so where the corpus has at least two documents."""
    nsp_weight: float = Field(default=0.1, ge=0)
    """What the loss of a pair weighs beside that of a masked token, both as means. BERT's 1 is for 256 pairs a step; of the
    few dozen that one machine takes, the noise drowns the words."""


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

    def halves(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of A and of B of one text."""
        _, start, stop = self.pieces[number]
        middle = start + self.cuts[number]
        return self.shards.tokens[start:middle], self.shards.tokens[middle:stop]

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


class MaskedLM(HeadTask):
    """Masked tokens, and next sentence where `settings.nsp` says so."""

    name = "masked-lm"
    Settings = MaskedLMSettings
    panel = "masked"
    settings: MaskedLMSettings
    heads: tuple[str, ...] = ("lm",)

    def __init__(self, settings: MaskedLMSettings) -> None:
        super().__init__(settings)
        self.weights = {"nsp": settings.nsp_weight}

    def separator(self, tokenizer: Tokenizer) -> None:
        """Documents are framed when they are read, not in the shards."""

    def examples(self, source: TokenShards, tokenizer: Tokenizer, context_length: int, ledger: Ledger) -> TextRows:
        missing = [name for name in ("mask", "cls", "sep") if getattr(tokenizer, f"{name}_id") is None]
        if missing:
            raise DataError("E203", missing=", ".join(missing))
        self.tokenizer, self._mask_id = tokenizer, tokenizer.mask_id or 0
        self._special = np.array(sorted(tokenizer.special_ids), dtype=np.int64)
        self._ordinary = np.setdiff1d(np.arange(tokenizer.vocab_size), self._special)
        nsp = source.num_documents > 1 if self.settings.nsp is None else self.settings.nsp
        if nsp and source.num_documents < 2 and "nsp" not in self.heads:
            raise DataError("E204")
        if self.settings.nsp is None and not nsp and "nsp" not in self.heads:
            ledger.add("task", "next-sentence prediction left out: the corpus is one document, it has no true negatives")
        if not nsp and "nsp" not in self.heads:
            return TextRows(source, context_length, extra=2)
        self.heads = ("lm", "nsp")
        return PairRows(source, context_length, tokenizer.sentence_ends())

    def collate(self, examples: TextRows, places: Sequence[Place]) -> Batch:
        rows = [self._row(examples, place) for place in places]
        texts = [text for row in rows for text in row]
        lengths = tuple(len(text.shown) for text in texts)
        shown_N = torch.from_numpy(np.concatenate([text.shown for text in texts]))
        gold_N = torch.from_numpy(np.concatenate([text.tokens for text in texts]))
        types_N = torch.from_numpy(np.concatenate([text.types for text in texts]))
        example_N = torch.from_numpy(np.repeat(np.arange(len(texts)), lengths))
        at_M = torch.from_numpy(np.flatnonzero(np.concatenate([text.asked for text in texts])))
        targets = {"lm": Targets(at_M, gold_N[at_M], example_N[at_M])}
        if "nsp" in self.heads:
            pairs = [number for number, text in enumerate(texts) if text.follows is not None]
            classes = [texts[number].follows for number in pairs]
            numbers = torch.tensor(pairs, dtype=torch.int64)
            targets["nsp"] = Targets(numbers, torch.tensor(classes, dtype=torch.int64), numbers)
        return Batch(Packed(shown_N, lengths, types_N), targets, tuple(text.document for text in texts))

    def _row(self, examples: TextRows, place: Place) -> list["_Text"]:
        """The texts of one row, framed, with the tokens that are asked hidden."""
        texts = []
        first, last = int(examples.rows[place.index]), int(examples.rows[place.index + 1])
        for number in range(first, last):
            document, start, stop = map(int, examples.pieces[number])
            if isinstance(examples, PairRows):
                partner = int(examples.partners(place.seed, place.epoch)[number])
                a, b = examples.halves(number)[0], examples.halves(partner)[1]
                follows = None if examples.cuts[number] == 0 else FOLLOWS if partner == number else RANDOM
                ids, types = self.tokenizer.frame(*((b.tolist(),) if follows is None else (a.tolist(), b.tolist())))
            else:
                follows = None
                ids, types = self.tokenizer.frame(examples.shards.tokens[start:stop].tolist())
            texts.append(_Text(document, np.asarray(ids, np.int64), np.asarray(types, np.int64), follows))
        self._mask(texts, place)
        return texts

    def _mask(self, texts: list["_Text"], place: Place) -> None:
        """Choose `mask_rate` of the row's ordinary tokens, and hide them in the ratio 80 : 10 : 10."""
        draw = place.stream("mask")
        tokens = np.concatenate([text.tokens for text in texts])
        ordinary = np.flatnonzero(~np.isin(tokens, self._special))
        wanted = self.settings.mask_rate * len(ordinary)
        number = min(len(ordinary), max(1, int(wanted + draw.random())))
        chosen = np.sort(draw.choice(ordinary, number, replace=False)) if len(ordinary) else ordinary
        fate = draw.random(len(chosen))
        others = draw.choice(self._ordinary, len(chosen)) if len(chosen) else chosen
        shown = tokens.copy()
        shown[chosen] = np.where(fate < 0.8, self._mask_id, np.where(fate < 0.9, others, tokens[chosen]))
        asked = np.zeros(len(tokens), dtype=bool)
        asked[chosen] = True
        start = 0
        for text in texts:
            stop = start + len(text.tokens)
            text.shown, text.asked = shown[start:stop], asked[start:stop]
            start = stop


class _Text:
    """One framed text of a row; `shown` and `asked` are filled in by masking."""

    __slots__ = ("asked", "document", "follows", "shown", "tokens", "types")

    def __init__(self, document: int, tokens: np.ndarray, types: np.ndarray, follows: int | None) -> None:
        self.document, self.tokens, self.types, self.follows = document, tokens, types, follows
        self.shown, self.asked = tokens, np.zeros(len(tokens), dtype=bool)


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
