"""The text with some of its units gone, as often as a method asks: token ids are taken out or blanked, never characters.

Variants are read side by side in passes of similar lengths, and no variant is read twice. Where a whole text is judged or gone on
from, its units are taken out, so that what is left is a text and half a text costs half the time; where a place is asked about, it
must stay where it is, and a blank stands for what is gone.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from diptych.explain.question import Question
from diptych.explain.reading import Unit
from diptych.packed import Packed
from diptych.tasks.windows import by_size
from diptych.text.tokenizer import Tokenizer

# Shapes: M variants, U units, T tokens of the whole text, P places that are asked.

TOKENS_AT_ONCE = 4096
TEXTS_AT_ONCE = 128
"""The logits of a vocabulary are made for each variant."""


class Subject:
    """A question whose text can be varied.

    Attributes:
        units: what is taken away together.
        blank: the token that stands for what is gone, where it cannot be taken out.
        num_evaluations: how many different variants the network has read.
    """

    def __init__(self, net: Any, question: Question, units: Sequence[Unit], blank: int) -> None:
        self.net, self.question, self.units, self.blank = net, question, list(units), blank
        self.device = next(net.parameters()).device
        self.num_evaluations = 0
        self._known: dict[bytes, float] = {}

    @property
    def num_units(self) -> int:
        return len(self.units)

    @property
    def full(self) -> float:
        """The answer to the whole text."""
        return float(self(np.ones((1, self.num_units), dtype=bool))[0])

    @property
    def empty(self) -> float:
        """The answer when every unit is gone."""
        return float(self(np.zeros((1, self.num_units), dtype=bool))[0])

    def __call__(self, kept_MU: np.ndarray) -> np.ndarray:
        """The question's number for each variant: float64 [M].

        Args:
            kept_MU: bool, which units are left.
        """
        kept_MU = np.asarray(kept_MU, dtype=bool)
        keys = [row.tobytes() for row in kept_MU]
        fresh = {key: row for key, row in zip(keys, kept_MU, strict=True) if key not in self._known}
        self.num_evaluations += len(fresh)
        scores = self._scores([self._variant(row) for row in fresh.values()])
        self._known.update(zip(fresh, scores, strict=True))
        return np.array([self._known[key] for key in keys])

    def lay_whole(self, copies: int = 1) -> tuple[Packed, torch.Tensor]:
        """The whole text as often as wanted, and where it is asked."""
        return self._lay([np.arange(len(self.question.reading.ids))] * copies)

    def gone_ids(self) -> np.ndarray:
        """The text's tokens with a blank in the place of each token of a unit: int64 [T]."""
        ids = self.question.reading.ids.copy()
        ids[[place for unit in self.units for place in unit.tokens]] = self.blank
        return ids

    def by_unit(self, values_T: np.ndarray) -> np.ndarray:
        """The sum over the tokens of each unit: [U]."""
        return np.array([values_T[list(unit.tokens)].sum() for unit in self.units])

    def _scores(self, variants: Sequence[np.ndarray]) -> list[float]:
        found = [0.0] * len(variants)
        for few in by_size([len(variant) for variant in variants], TOKENS_AT_ONCE, TEXTS_AT_ONCE):
            texts, at_BP = self._lay([variants[number] for number in few])
            with torch.inference_mode():
                scores = self.question.score(self.net, texts, at_BP).double().cpu().tolist()
            for number, score in zip(few, scores, strict=True):
                found[number] = score
        return found

    def _variant(self, kept_U: np.ndarray) -> np.ndarray:
        """The places of the tokens that are left; a blank is the place less the text's length."""
        places = np.arange(len(self.question.reading.ids))
        gone = [place for unit, is_kept in zip(self.units, kept_U, strict=True) if not is_kept for place in unit.tokens]
        if not self.question.can_shorten:
            places[gone] -= len(places)
            return places
        left = np.setdiff1d(places, gone, assume_unique=True)
        # Something must be read, even where a model has no special tokens.
        return left if len(left) else np.array([-len(places)])

    def _lay(self, variants: Sequence[np.ndarray]) -> tuple[Packed, torch.Tensor]:
        question, reading = self.question, self.question.reading
        flat = np.concatenate(variants)
        ids = np.where(flat < 0, self.blank, reading.ids[flat])
        lengths = tuple(len(variant) for variant in variants)
        texts = Packed(torch.from_numpy(ids), lengths, torch.from_numpy(reading.types[flat]), question.is_causal).to(self.device)
        ends = np.cumsum(lengths)
        starts = ends - lengths
        if question.at_end:
            at = ends[:, None] - 1
        else:
            wanted = [[np.flatnonzero(variant % len(reading.ids) == place)[0] for place in question.places] for variant in variants]
            at = np.array(wanted, dtype=np.int64).reshape(len(variants), -1) + starts[:, None] + question.shift
        return texts, torch.from_numpy(at).to(self.device)


def blank_of(tokenizer: Tokenizer) -> int:
    """The token that says nothing: the one for blanks, or for padding, or for what is not known, or for the end of a document."""
    known = (tokenizer.mask_id, tokenizer.pad_id, tokenizer.unk_id, tokenizer.eos_id)
    return next((token for token in known if token is not None), 0)
