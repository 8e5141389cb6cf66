"""BERT's pretraining: fill in masked words (`masking.py`), and judge pairs of passages (`pairs.py`).

The loss is taken at the masked places alone; the logits of the others are never made.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import _, mark
from diptych.packed import Packed
from diptych.tasks.head_task import HeadTask
from diptych.tasks.masking import Masking, MaskingSettings
from diptych.tasks.packing import TextRows
from diptych.tasks.pairs import OrderRows, PairRows, Run
from diptych.tasks.task import Batch, Place, Targets
from diptych.text.shards import TokenShards
from diptych.text.tokenizer import Tokenizer


class MaskedLMSettings(MaskingSettings):
    """`task: {name: masked-lm, text: corpus/}`"""

    name: Literal["masked-lm"] = "masked-lm"
    nsp: bool | None = None
    """Judge whether B follows A as well; None does so where the corpus has at least two documents."""
    sop: bool = False
    """Judge whether A and B are in order instead, as in ALBERT; one document is enough for that."""
    nsp_weight: float = Field(default=0.1, ge=0)
    """What the loss of a pair weighs beside that of a masked token, both as means. BERT's 1 is for 256 pairs a step; of the
    few dozen that one machine takes, the noise drowns the words."""

    @model_validator(mode="after")
    def _one_kind_of_pair(self) -> "MaskedLMSettings":
        if self.nsp and self.sop:
            raise ValueError(_("pairs are judged by nsp or by sop, not by both"))
        return self


class MaskedLM(HeadTask):
    """Masked words, and pairs where `settings.nsp` or `settings.sop` says so."""

    name = "masked-lm"
    Settings = MaskedLMSettings
    panel = "masked"
    settings: MaskedLMSettings
    heads: tuple[str, ...] = ("lm",)
    example = "bert-mini"
    judged_as = ("sop",)

    def __init__(self, settings: MaskedLMSettings) -> None:
        super().__init__(settings)
        self.weights = {"nsp": settings.nsp_weight}
        pairs = mark("nats per sentence order") if settings.sop else mark("nats per next sentence")
        self.titles = {"lm": mark("nats per masked token"), "nsp": pairs}

    @property
    def needs_words(self) -> bool:
        return self.settings.mask_units == "words"

    def fits(self, config: Any) -> bool:
        """A hybrid answers for a blank at the place before it, so its task is hybrid-lm."""
        return config.fills and not config.is_hybrid

    def leans_on(self) -> str | None:
        is_by_others = "nsp" in self.heads and not self.settings.sop
        return mark("passages of other documents, shown as wrong continuations (task.nsp)") if is_by_others else None

    def separator(self, tokenizer: Tokenizer) -> None:
        """Documents are framed when they are read, not in the shards."""

    def examples(self, source: TokenShards, tokenizer: Tokenizer, context_length: int, ledger: Ledger) -> TextRows:
        self.masking, self.tokenizer = Masking(self.settings, tokenizer), tokenizer
        if self.settings.sop:
            self.heads = ("lm", "nsp")
            return OrderRows(source, context_length, tokenizer.sentence_ends())
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
                a, b, follows = examples.pair(number, place)
                texts.append(self._text(examples.shards, document, [b] if follows is None else [a, b], follows))
            else:
                texts.append(self._text(examples.shards, document, [(start, stop)], None))
        tokens, starts = (np.concatenate([getattr(text, name) for text in texts]) for name in ("tokens", "starts"))
        shown, asked = self.masking.hide(tokens, starts, place)
        ends = np.cumsum([len(text.tokens) for text in texts])[:-1]
        for text, shown_part, asked_part in zip(texts, np.split(shown, ends), np.split(asked, ends), strict=True):
            text.shown, text.asked = shown_part, asked_part
        return texts

    def _text(self, shards: TokenShards, document: int, runs: list[Run], follows: int | None) -> "_Text":
        """One or two runs of the corpus with the special tokens around them."""
        body = np.concatenate([shards.tokens[start:stop] for start, stop in runs]).astype(np.int64)
        starts = np.ones(len(body), dtype=bool)
        if self.needs_words:
            starts = np.concatenate([shards.word_starts(start, stop) for start, stop in runs])
        # What the tokenizer frames are places in `body`, counted backwards from its end, to tell them from special tokens.
        borders = [-len(body), *(np.cumsum([stop - start for start, stop in runs]) - len(body)).tolist()]
        frame, types = self.tokenizer.frame(*(range(*pair) for pair in itertools.pairwise(borders)))
        slots = np.asarray(frame, np.int64)
        is_text = slots < 0
        places = np.where(is_text, slots, 0)
        return _Text(document, np.where(is_text, body[places], slots), np.asarray(types, np.int64), ~is_text | starts[places], follows)


@dataclass
class _Text:
    """One framed text of a row; `shown` and `asked` are filled in by masking."""

    document: int
    tokens: np.ndarray
    types: np.ndarray
    starts: np.ndarray
    """Where a unit of masking begins."""
    follows: int | None
    """What its pair is; None where it is no pair."""
    shown: np.ndarray = field(init=False)
    asked: np.ndarray = field(init=False)
