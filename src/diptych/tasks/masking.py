"""Which tokens are hidden, how many, and behind what.

BERT (Devlin et al. 2018) hides 15 % of the tokens: 80 % of those are shown as [MASK], 10 % as another token, 10 % as they
are. What is hidden together is a unit: a token, or a whole word, of which no piece is left to give the others away; and
units can be hidden in runs (GPT-BERT, Charpentier and Samuel 2024: one to three tokens; SpanBERT: words). The rate may fall
while a run goes on, 30 % to 15 % in GPT-BERT: much is asked of a model that knows little, and the right amount at the end.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from diptych.errors import DataError
from diptych.tasks.task import LanguageSettings, Place
from diptych.text.tokenizer import Tokenizer

# Shapes: N tokens of a row, U units.


class MaskingSettings(LanguageSettings):
    """What tasks that hide words are told about it."""

    mask_rate: float = Field(default=0.15, gt=0, lt=1)
    """The share of the tokens that is asked; with `first_mask_rate`, at the end of the budget and in every evaluation."""
    first_mask_rate: float | None = Field(default=None, gt=0, lt=1)
    """The share at the beginning, from which it goes to `mask_rate` in a straight line; None keeps it there throughout."""
    mask_units: Literal["tokens", "words"] = "tokens"
    """What is hidden together: single tokens, or whole words, English by their letters and Chinese by a segmenter."""
    mask_span: int = Field(default=1, ge=1, le=10)
    """Units are hidden in runs of 1 to this many, each length alike."""


class Masking:
    """Hides tokens of rows as `settings` say."""

    def __init__(self, settings: MaskingSettings, tokenizer: Tokenizer) -> None:
        """
        Raises:
            DataError E203: the tokenizer has no [MASK], or nothing to frame a text with.
        """
        missing = [name for name in ("mask", "cls", "sep") if getattr(tokenizer, f"{name}_id") is None]
        if missing:
            raise DataError("E203", missing=", ".join(missing), task="masked-lm")
        self.settings = settings
        self._mask_id = tokenizer.mask_id or 0
        self._is_special = np.zeros(tokenizer.vocab_size, dtype=bool)
        self._is_special[sorted(tokenizer.special_ids)] = True
        self._ordinary = np.flatnonzero(~self._is_special)

    def rate(self, spent: float) -> float:
        """The share of tokens to ask when `spent` of the budget is used up."""
        last = self.settings.mask_rate
        first = last if self.settings.first_mask_rate is None else self.settings.first_mask_rate
        return first + (last - first) * min(max(spent, 0.0), 1.0)

    def hide(self, tokens_N: np.ndarray, starts_N: np.ndarray, place: Place, fixed: Sequence[int] = ()) -> tuple[np.ndarray, np.ndarray]:
        """(tokens as they are shown, whether each is asked) of one row; special tokens are shown as they are.

        The expected number of asked tokens is the rate times the ordinary ones, whatever the units; at least one unit is.

        Args:
            starts_N: where a unit begins. False at a piece of the word before.
            fixed: places that are not asked either.
        """
        draw = place.stream("mask")
        is_asked_N = np.zeros(len(tokens_N), dtype=bool)
        askable_N = ~self._is_special[tokens_N]
        askable_N[list(fixed)] = False
        if not askable_N.any():
            return tokens_N, is_asked_N
        unit_N = np.cumsum(starts_N) - int(starts_N[0])
        if self.settings.mask_span > 1:
            unit_N = _runs(unit_N, askable_N, self.settings.mask_span, draw)[unit_N]
        sizes_U = np.bincount(unit_N, askable_N).astype(np.int64)
        order = draw.permutation(np.flatnonzero(sizes_U))
        filled = np.cumsum(sizes_U[order])
        wanted = max(1.0, self.rate(place.spent) * filled[-1])
        number = int(np.searchsorted(filled, wanted, side="right"))
        if number < len(order):
            # Of the unit in which the wanted number lies, as much as is wanted, on average.
            missing = wanted - (filled[number - 1] if number else 0)
            number += int(draw.random() * sizes_U[order[number]] < missing)
        is_chosen_U = np.zeros(len(sizes_U), dtype=bool)
        is_chosen_U[order[: max(1, number)]] = True
        is_asked_N = is_chosen_U[unit_N] & askable_N
        at = np.flatnonzero(is_asked_N)
        fate, others = draw.random(len(at)), draw.choice(self._ordinary, len(at))
        shown_N = tokens_N.copy()
        shown_N[at] = np.where(fate < 0.8, self._mask_id, np.where(fate < 0.9, others, tokens_N[at]))
        return shown_N, is_asked_N


def _runs(unit_N: np.ndarray, askable_N: np.ndarray, longest: int, draw: np.random.Generator) -> np.ndarray:
    """The run that each unit lies in: [U]. What is not asked, such as the frame of a text, ends a run."""
    is_empty_U = np.bincount(unit_N, askable_N) == 0
    starts_U = is_empty_U.copy()
    starts_U[1:] |= is_empty_U[:-1]
    begins = np.cumsum(draw.integers(1, longest + 1, len(starts_U)))
    starts_U[begins[begins < len(starts_U)]] = True
    return np.cumsum(starts_U) - int(starts_U[0])
