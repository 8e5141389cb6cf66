"""RoBERTa (Liu et al. 2019): BERT's stack with one token type, positions that begin at 2, and a classifier of its own."""

from collections.abc import Mapping
from typing import Any

from diptych.models.config import ModelConfig
from diptych.models.families import bert
from diptych.models.families.family import OF_BERTS, Family, both, classes

OFFSET = 2
"""Position 0 has the number after the padding's, which is 1 in every folder there is."""


def _read(hf: Mapping[str, Any]) -> dict[str, Any]:
    return {"context_length": hf["max_position_embeddings"] - OFFSET}


def _write(config: ModelConfig) -> dict[str, Any]:
    # transformers counts positions from the number of the padding, so the config must name 1 whatever our tokenizer pads with.
    return {"max_position_embeddings": config.context_length + OFFSET}


FAMILY = Family(
    name="roberta",
    prefix="roberta",
    architectures=classes("Roberta", **OF_BERTS),
    fixed={**bert.FIXED, "num_token_types": 1, "position_offset": OFFSET},
    settings={ours: theirs for ours, theirs in bert.SETTINGS.items() if ours != "context_length"},
    # The language head has a GELU whatever the layers have.
    usual={**bert.USUAL, "pad_token_id": 1, "hidden_act": "gelu"},
    read_more=_read,
    write_more=_write,
    body=lambda config: bert.BODY,
    heads=bert.heads(
        pooler="classifier.dense",
        dense="lm_head.dense",
        norm="lm_head.layer_norm",
        lm="lm_head",
        decoder="lm_head.decoder",
        classes=both("output", "classifier.out_proj"),
    ),
    # The body's own pooler was never trained, and no head of the family reads it.
    ignored=("embeddings.position_ids", "lm_head.decoder.bias", "pooler.dense.weight", "pooler.dense.bias"),
    renamed=bert.RENAMED,
    twins={"lm_head.decoder.bias": "lm_head.bias"},
)
