"""GPT-3's block (Brown et al. 2020): GPT-2's, with layers that see all and layers that see a band in turn.

Its weights were never published; GPT-Neo (Black et al. 2021) is the same block with weights one can open, so that is how ours
is written. GPT-Neo does not divide scores by sqrt(head size): its query matrix has that factor in it, and ours begins with it
(`transformer.initialize`), so that a fresh network's attention is the paper's.
"""

from collections.abc import Mapping
from typing import Any

from diptych.models.config import ModelConfig
from diptych.models.families.family import DECODER_HEADS, OF_DECODERS, Family, both, classes, layer_kinds, layers, read_kinds, split

KINDS = {"local": "local", "whole": "global"}


def _read(hf: Mapping[str, Any]) -> dict[str, Any]:
    types = hf.get("attention_types") or [[["global", "local"], hf["num_layers"] // 2]]
    kinds = [kind for pattern, times in types for _ in range(times) for kind in pattern]
    every = read_kinds("gpt_neo", kinds, len(kinds), (2, *range(len(kinds) + 1)), "attention_types", **KINDS)
    return {"global_every": every, "feed_forward_size": hf.get("intermediate_size") or 4 * hf["hidden_size"]}


def _write(config: ModelConfig) -> dict[str, Any]:
    kinds = layer_kinds(config.global_every, config.num_layers, **KINDS)
    return {
        "attention_types": [[[kind], 1] for kind in kinds],
        "attention_layers": kinds,
        "intermediate_size": config.feed_forward_size,
        "embed_dropout": config.dropout,
    }


_BODY = (
    *both("embedding.tokens", "wte"),
    *both("embedding.positions", "wpe"),
    *layers(
        "h.{i}",
        norms=("ln_1", "ln_2"),
        qkv=split("attn.attention.{}_proj"),
        output="attn.attention.out_proj",
        up=("mlp.c_fc",),
        down="mlp.c_proj",
    ),
    *both("norm", "ln_f"),
)

FAMILY = Family(
    name="gpt_neo",
    prefix="transformer",
    architectures=classes("GPTNeo", **OF_DECODERS),
    fixed={
        "is_causal": True,
        "activation": "gelu_tanh",
        "classifier": "last",
        "has_qkv_bias": False,
        "attention_scale": 1.0,
        "window": 256,
        "global_every": 2,
    },
    settings={
        "hidden_size": "hidden_size",
        "num_layers": "num_layers",
        "num_heads": "num_heads",
        "context_length": "max_position_embeddings",
        "window": ("window_size", 256),
        "activation": ("activation_function", "gelu_new"),
        "norm_eps": ("layer_norm_epsilon", 1e-5),
        "dropout": ("resid_dropout", 0.0),
        "attention_dropout": ("attention_dropout", 0.0),
    },
    read_more=_read,
    write_more=_write,
    body=lambda config: _BODY,
    heads=DECODER_HEADS,
    ignored=(".attn.attention.bias", ".attn.attention.masked_bias"),
)
