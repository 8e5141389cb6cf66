"""Restore a damaged text: the pretraining of encoder-decoders, T5's span corruption and BART's text infilling (`corruption.py`)."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import _, mark
from diptych.tasks.corruption import corrupt_spans, infill, shuffle_sentences
from diptych.tasks.head_task import HeadTask
from diptych.tasks.packing import TextRows
from diptych.tasks.task import Batch, LanguageSettings, Place
from diptych.tasks.writing import end_id, frame_source, lay_written
from diptych.text.shards import TokenShards
from diptych.text.tokenizer import Tokenizer

FRAME = 2
"""Tokens that are added to a text that is read, and more than are added to one that is written."""


class DenoisingSettings(LanguageSettings):
    """`task: {name: denoising, text: corpus/}`"""

    name: Literal["denoising"] = "denoising"
    noise: Literal["spans", "infilling"] = "spans"
    """Spans: write what is missing (T5). Infilling: write the whole text (BART)."""
    noise_rate: float | None = Field(default=None, gt=0, lt=1)
    """The share of the tokens that is taken out; None is the papers' 0.15 for spans and 0.3 for infilling."""
    mean_span: float = Field(default=3.0, ge=1)
    """Tokens of a span, on average."""
    shuffle_sentences: bool = False
    """Infilling only: show the sentences in another order as well."""

    @model_validator(mode="after")
    def _order_can_be_restored(self) -> "DenoisingSettings":
        if self.shuffle_sentences and self.noise == "spans":
            raise ValueError(_("shuffled sentences can be restored by infilling alone, which writes the whole text"))
        return self


class NoisyRows(TextRows):
    """Whole documents in rows, of which both what is read and what is written goes through the model."""

    def num_tokens(self, index: int) -> int:
        return 2 * super().num_tokens(index)


class Denoising(HeadTask):
    """Restore damaged texts."""

    name = "denoising"
    Settings = DenoisingSettings
    panel = "denoising"
    settings: DenoisingSettings
    heads = ("lm",)
    example = "t5-mini"
    judged_as = ("noise", "noise_rate", "mean_span", "shuffle_sentences")
    titles = {"lm": mark("nats per restored token")}

    def separator(self, tokenizer: Tokenizer) -> None:
        """Documents are framed when they are read, not in the shards."""

    def fits(self, config: Any) -> bool:
        return config.is_encoder_decoder

    def prepare(self, net: Any, seed: int) -> None:
        super().prepare(net, seed)
        self._start_id = net.config.decoder_start_id

    def examples(self, source: TokenShards, tokenizer: Tokenizer, context_length: int, ledger: Ledger) -> NoisyRows:
        end, is_infilling = end_id(tokenizer), self.settings.noise == "infilling"
        if end is None or (is_infilling and tokenizer.mask_id is None):
            raise DataError("E203", missing="end" if end is None else "mask", task="denoising")
        if not is_infilling and not tokenizer.sentinel_ids:
            raise DataError("E209")
        self._tokenizer, self._end_id, self._room = tokenizer, end, context_length - FRAME
        self._ends_V = tokenizer.sentence_ends() if self.settings.shuffle_sentences else np.empty(0, dtype=bool)
        return NoisyRows(source, context_length, extra=FRAME)

    def collate(self, examples: NoisyRows, places: Sequence[Place]) -> Batch:
        sources, answers, keys = [], [], []
        for place in places:
            draw = place.stream("noise")
            for piece in examples.row(place.index):
                text = np.asarray(examples.shards.tokens[piece.start : piece.stop], dtype=np.int64)
                damaged, answer = self._damage(text, draw)
                sources.append(frame_source(damaged, self._tokenizer))
                answers.append(np.append(answer, self._end_id))
                keys.append(piece.document)
        return lay_written(sources, answers, self._start_id, keys)

    def _damage(self, text: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(what is read, what is to be written)."""
        settings, tokenizer = self.settings, self._tokenizer
        if settings.noise == "spans":
            return corrupt_spans(text, tokenizer.sentinel_ids, settings.noise_rate or 0.15, settings.mean_span, draw)
        shown = shuffle_sentences(text, self._ends_V, draw) if settings.shuffle_sentences else text
        return infill(shown, tokenizer.mask_id or 0, settings.noise_rate or 0.3, settings.mean_span, draw, self._room), text
