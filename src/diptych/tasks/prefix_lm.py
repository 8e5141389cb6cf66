"""Go on from a beginning that is read in both directions (Raffel et al. 2020, section 3.2.3; Dong et al. 2019, UniLM).

Each text is parted at a random place. All tokens see the beginning; those after it see each other causally, and only they are
asked. A network with an encoder and a decoder reads the beginning with the one and goes on with the other.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch

from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.tasks.causal_lm import CausalLM
from diptych.tasks.head_task import HeadTask
from diptych.tasks.packing import StreamRows
from diptych.tasks.task import Batch, LanguageSettings, Place, Targets
from diptych.tasks.writing import lay_written
from diptych.text.shards import TokenShards
from diptych.text.tokenizer import Tokenizer


class PrefixLMSettings(LanguageSettings):
    """`task: {name: prefix-lm, text: corpus/}`"""

    name: Literal["prefix-lm"] = "prefix-lm"


class PrefixLM(HeadTask):
    """Next words after a beginning."""

    name = "prefix-lm"
    Settings = PrefixLMSettings
    panel = "causal"
    heads = ("lm",)
    example = "gpt-mini"
    titles = {"lm": mark("nats per token after a beginning")}

    def __init__(self, settings: PrefixLMSettings) -> None:
        super().__init__(settings)
        self._causal = CausalLM(settings)

    def separator(self, tokenizer: Tokenizer) -> int | None:
        return self._causal.separator(tokenizer)

    def fits(self, config: Any) -> bool:
        return config.writes

    def prepare(self, net: Any, seed: int) -> None:
        super().prepare(net, seed)
        self._start_id = net.config.decoder_start_id if net.config.is_encoder_decoder else None

    def examples(self, source: TokenShards, tokenizer: Tokenizer, context_length: int, ledger: Ledger) -> StreamRows:
        return StreamRows(source, context_length)

    def collate(self, examples: StreamRows, places: Sequence[Place]) -> Batch:
        batch = self._causal.collate(examples, places)
        lengths = batch.texts.lengths
        prefixes = [length for place in places for length in self._prefixes(examples, place)]
        if self._start_id is not None:
            runs, golds = (x.numpy() for x in (batch.texts.ids_N, batch.targets["lm"].gold_M))
            starts = batch.texts.starts_B.tolist()
            sources = [runs[start : start + prefix] for start, prefix in zip(starts, prefixes, strict=True)]
            # The token at the last place of the beginning is the first that is written.
            parts = zip(starts, prefixes, lengths, strict=True)
            answers = [golds[start + prefix - 1 : start + length] for start, prefix, length in parts]
            return lay_written(sources, answers, self._start_id, batch.keys)
        is_asked_N = batch.texts.positions_N >= torch.tensor(prefixes)[batch.texts.text_N] - 1
        at_M, whole = is_asked_N.nonzero().flatten(), batch.targets["lm"]
        texts = replace(batch.texts, is_causal=True, prefix_lengths=tuple(prefixes))
        return Batch(texts, {"lm": Targets(at_M, whole.gold_M[at_M], whole.example_M[at_M])}, batch.keys)

    def _prefixes(self, examples: StreamRows, place: Place) -> list[int]:
        """How much of each text of a row is its beginning: one token at the least, all that is shown at the most."""
        draw = place.stream("beginning")
        return [int(draw.integers(1, piece.stop - piece.start + 1)) for piece in examples.row(place.index)]
