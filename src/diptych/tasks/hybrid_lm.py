"""Both panels at once: next words and masked words in one network, mixed row by row (GPT-BERT, Charpentier and Samuel 2024).

A causal row is asked as in `causal_lm.py`. A masked row is read in both directions with some tokens hidden (`masking.py`), and
what is hidden is predicted from the place before it: so both kinds ask the same of the same place, and one head answers both.
Both lay the corpus out in the same rows; which kind a row is in an epoch is a draw of its own. A batch is of one kind, since the
kind decides how attention looks; a step holds both.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.tasks.causal_lm import CausalLM
from diptych.tasks.head_task import HeadTask
from diptych.tasks.masking import Masking, MaskingSettings
from diptych.tasks.packing import DocumentRows, Piece, StreamRows
from diptych.tasks.task import Batch, Place, Targets
from diptych.text.shards import TokenShards
from diptych.text.tokenizer import Tokenizer


class HybridLMSettings(MaskingSettings):
    """`task: {name: hybrid-lm, text: corpus/, causal_share: 0.5}`"""

    name: Literal["hybrid-lm"] = "hybrid-lm"
    causal_share: float = Field(default=0.5, ge=0, le=1)
    """The share of the rows that are asked for next words, and the weight of their mean loss beside the masked words'."""


class HybridRows(StreamRows):
    """The rows of the stream, some of them causal and the others masked."""

    def __init__(self, shards: TokenShards, row_length: int, causal_share: float) -> None:
        super().__init__(shards, row_length)
        self.causal_share = causal_share

    def kind(self, place: Place) -> int:
        """1 where the row is causal, 0 where it is masked."""
        return int(place.stream("kind of row").random() < self.causal_share)

    def judged(self) -> "JudgedHybridRows":
        return JudgedHybridRows(self.shards, self.row_length)

    def apart(self) -> "ApartHybridRows":
        return ApartHybridRows(self.shards, self.row_length, self.causal_share)


class ApartHybridRows(DocumentRows):
    """Every document in rows of its own, causal or masked."""

    def __init__(self, shards: TokenShards, row_length: int, causal_share: float) -> None:
        super().__init__(shards, row_length)
        self.causal_share = causal_share

    kind = HybridRows.kind


class JudgedHybridRows(DocumentRows):
    """Every document twice: first all of them as causal rows, then all of them as masked ones."""

    def __len__(self) -> int:
        return 2 * super().__len__()

    def num_tokens(self, index: int) -> int:
        return super().num_tokens(index % super().__len__())

    def row(self, index: int) -> list[Piece]:
        return super().row(index % super().__len__())

    def kind(self, place: Place) -> int:
        return int(place.index < super().__len__())


class HybridLM(HeadTask):
    """Next words and masked words, each a term of its own."""

    name = "hybrid-lm"
    Settings = HybridLMSettings
    panel = "hybrid"
    settings: HybridLMSettings
    heads = ("lm",)
    example = "hybrid-mini"
    head_of = {"causal": "lm", "masked": "lm"}
    titles = {"masked": mark("nats per masked token")}
    whole_text = "causal"

    def __init__(self, settings: HybridLMSettings) -> None:
        super().__init__(settings)
        self.weights = {"causal": settings.causal_share, "masked": 1 - settings.causal_share}
        self._causal = CausalLM(settings)

    @property
    def needs_words(self) -> bool:
        return self.settings.mask_units == "words"

    @property
    def watched(self) -> str:
        return "causal" if self.settings.causal_share >= 0.5 else "masked"

    def separator(self, tokenizer: Tokenizer) -> int | None:
        return self._causal.separator(tokenizer)

    def fits(self, config: Any) -> bool:
        return config.is_hybrid

    def examples(self, source: TokenShards, tokenizer: Tokenizer, context_length: int, ledger: Ledger) -> HybridRows:
        self._masking = Masking(self.settings, tokenizer)
        return HybridRows(source, context_length, self.settings.causal_share)

    def collate(self, examples: HybridRows | JudgedHybridRows | ApartHybridRows, places: Sequence[Place]) -> Batch:
        """The rows at `places`, all of one kind."""
        (kind,) = {examples.kind(place) for place in places}
        batch = self._causal.collate(examples, places)
        if kind:
            return Batch(replace(batch.texts, is_causal=True), {"causal": batch.targets["lm"]}, batch.keys)
        shown, asked = zip(*(self._hide(examples, place) for place in places), strict=True)
        texts = replace(batch.texts, ids_N=torch.from_numpy(np.concatenate(shown)), is_causal=False)
        # What is hidden at a place is asked of the place before it, whose next token it is.
        at_M = torch.from_numpy(np.flatnonzero(np.concatenate(asked))) - 1
        whole = batch.targets["lm"]
        return Batch(texts, {"masked": Targets(at_M, whole.gold_M[at_M], whole.example_M[at_M])}, batch.keys)

    def _hide(self, examples: StreamRows, place: Place) -> tuple[np.ndarray, np.ndarray]:
        """(tokens as they are shown, whether each is asked) of one row."""
        pieces, shards = examples.row(place.index), examples.shards
        tokens = np.concatenate([shards.tokens[piece.start : piece.stop] for piece in pieces]).astype(np.int64)
        starts = np.ones(len(tokens), dtype=bool)
        if self.needs_words:
            starts = np.concatenate([shards.word_starts(piece.start, piece.stop) for piece in pieces])
        # Nothing of its text stands before the first token of a piece that could be asked for it.
        first = np.cumsum([0, *(piece.stop - piece.start for piece in pieces[:-1])])
        return self._masking.hide(tokens, starts, place, first.tolist())
