"""Next word: predict each token from those before it, within its document (Radford et al. 2018).

The text is taken as it is given; a model that writes is trained on nothing else.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from diptych.ledger import Ledger
from diptych.packed import Packed
from diptych.tasks.head_task import HeadTask
from diptych.tasks.packing import StreamRows
from diptych.tasks.task import Batch, LanguageSettings, Place, Targets
from diptych.text.shards import TokenShards
from diptych.text.tokenizer import Tokenizer


class CausalLMSettings(LanguageSettings):
    """`task: {name: causal-lm, text: corpus/}`"""

    name: Literal["causal-lm"] = "causal-lm"


class CausalLM(HeadTask):
    """Next-word prediction over packed rows."""

    name = "causal-lm"
    Settings = CausalLMSettings
    panel = "causal"
    heads = ("lm",)
    example = "gpt-mini"
    whole_text = "lm"
    bears_pieces = True

    def separator(self, tokenizer: Tokenizer) -> int | None:
        """The token that stands between documents: the end of one is the beginning of the next."""
        return tokenizer.eos_id if tokenizer.eos_id is not None else tokenizer.sep_id

    def fits(self, config: Any) -> bool:
        """A model that sees both sides would be shown the answer."""
        return config.is_causal

    def examples(self, source: TokenShards, tokenizer: Tokenizer, context_length: int, ledger: Ledger) -> StreamRows:
        return StreamRows(source, context_length)

    def collate(self, examples: StreamRows, places: Sequence[Place]) -> Batch:
        tokens = examples.shards.tokens
        inputs, targets, pieces = [], [], []
        for place in places:
            for piece in examples.row(place.index):
                run = np.asarray(tokens[piece.start : piece.stop + 1], dtype=np.int64)
                inputs.append(run[:-1])
                targets.append(run[1:])
                pieces.append(piece)
        lengths = tuple(len(run) for run in inputs)
        ids_N = torch.from_numpy(np.concatenate(inputs))
        example_N = torch.from_numpy(np.repeat(np.arange(len(pieces)), lengths))
        gold_N = torch.from_numpy(np.concatenate(targets))
        asked = Targets(torch.arange(len(ids_N)), gold_N, example_N)
        return Batch(Packed(ids_N, lengths), {"lm": asked}, tuple(piece.document for piece in pieces))
