"""GPT-2 (Radford et al. 2019): causal, norm before each sum, learned positions, matrices stored transposed."""

from collections.abc import Mapping
from typing import Any

from diptych.models.config import ModelConfig
from diptych.models.families.family import DECODER_HEADS, Family, both, classes, layers


def _read(hf: Mapping[str, Any]) -> dict[str, Any]:
    return {"feed_forward_size": hf.get("n_inner") or 4 * hf["n_embd"]}


def _write(config: ModelConfig) -> dict[str, Any]:
    return {"n_inner": config.feed_forward_size, "embd_pdrop": config.dropout}


_BODY = (
    *both("embedding.tokens", "wte"),
    *both("embedding.positions", "wpe"),
    *layers(
        "h.{i}", norms=("ln_1", "ln_2"), qkv=("attn.c_attn",), output="attn.c_proj", up=("mlp.c_fc",), down="mlp.c_proj", is_transposed=True
    ),
    *both("norm", "ln_f"),
)

FAMILY = Family(
    name="gpt2",
    prefix="transformer",
    architectures={**classes("GPT2", SequenceClassification=("classes",), TokenClassification=("tags",)), "GPT2LMHeadModel": ("lm",)},
    fixed={"is_causal": True, "activation": "gelu_tanh", "classifier": "last"},
    settings={
        "hidden_size": "n_embd",
        "num_layers": "n_layer",
        "num_heads": "n_head",
        "context_length": "n_positions",
        "activation": ("activation_function", "gelu_new"),
        "norm_eps": ("layer_norm_epsilon", 1e-5),
        "dropout": ("resid_pdrop", 0.1),
        "attention_dropout": ("attn_pdrop", 0.1),
    },
    usual={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False},
    read_more=_read,
    write_more=_write,
    body=lambda config: _BODY,
    heads=DECODER_HEADS,
    ignored=(".attn.bias", ".attn.masked_bias"),
)
