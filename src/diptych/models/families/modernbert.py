"""ModernBERT (Warner et al. 2024): rotary positions, gated GELU, norm before each sum, local layers between global ones.

The decoder of the same block (`modernbert-decoder`) has the same tensors; only queries, keys and values lie apart. The two
are the panels of a diptych: one set of weights, written as two folders.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from diptych.errors import ModelError
from diptych.models.config import ModelConfig
from diptych.models.families.family import (
    ACTIVATION_THERE,
    CHOICES,
    SIZES,
    Family,
    Rule,
    both,
    classes,
    layer_kinds,
    layers,
    read_kinds,
    refuse,
    split,
)

_FIXED = {
    "has_norm_bias": False,
    "has_embedding_norm": True,
    "skips_first_norm": True,
    "is_gated": True,
    "positions": "rotary",
    "rope_theta": 160_000.0,
    "local_rope_theta": 10_000.0,
    "window": 65,
    "global_every": 3,
    "has_attention_bias": False,
    "has_feed_forward_bias": False,
    "lm_transform": True,
    "has_lm_bias": True,
    "classifier": "transform",
}
_SETTINGS = {
    **SIZES,
    "activation": ("hidden_activation", "gelu"),
    "norm_eps": ("norm_eps", 1e-5),
    "dropout": ("mlp_dropout", 0.0),
    "attention_dropout": ("attention_dropout", 0.0),
}
_USUAL = {"attention_bias": False, "mlp_bias": False, "norm_bias": False, "classifier_bias": False, "decoder_bias": True}


def _read(family: str, extra: int, hf: Mapping[str, Any]) -> dict[str, Any]:
    """`extra`: the encoder's window counts the token itself, the decoder's does not."""
    activation = hf.get("hidden_activation", "gelu")
    refuse(family, {"classifier_activation": hf.get("classifier_activation", "gelu")}, classifier_activation=activation)
    rope = hf.get("rope_parameters") or {}
    full, near = rope.get("full_attention") or {}, rope.get("sliding_attention") or {}
    for kind in (full, near):
        refuse(family, kind, rope_type="default")
    # Where the kinds of the layers are listed, the list decides.
    named, kinds, number = hf.get("global_attn_every_n_layers") or 3, hf.get("layer_types"), hf["num_hidden_layers"]
    return {
        "rope_theta": float(full.get("rope_theta") or hf.get("global_rope_theta") or 160_000.0),
        "local_rope_theta": float(near.get("rope_theta") or hf.get("local_rope_theta") or 10_000.0),
        "window": hf.get("local_attention", 128) // 2 + extra,
        "global_every": read_kinds(family, kinds, number, (named, *range(1, number + 1))) if kinds else named,
        # A decoder's config may name it too, and transformers judges by the last token all the same.
        "pooling": "mean" if family == "modernbert" and hf.get("classifier_pooling") == "mean" else "first",
        "is_hybrid": bool(hf.get("diptych_is_hybrid")),
    }


def _write(extra: int, config: ModelConfig) -> dict[str, Any]:
    if not config.global_every:
        raise ModelError("E304", feature="global_every = 0", family=config.family)
    return {
        "classifier_activation": ACTIVATION_THERE[config.activation],
        "norm_bias": False,
        "layer_types": layer_kinds(config.global_every, config.num_layers),
        "global_attn_every_n_layers": config.global_every,
        "local_attention": 2 * (config.window - extra),
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": config.rope_theta},
            "sliding_attention": {"rope_type": "default", "rope_theta": config.local_rope_theta},
        },
        "embedding_dropout": config.dropout,
        "classifier_pooling": "mean" if config.pooling == "mean" else "cls",
        # Left out, it would be a number beyond a small vocabulary, and transformers could not open the folder.
        "pad_token_id": -1,
        **({"diptych_is_hybrid": True} if config.is_hybrid else {}),
    }


def _body(qkv: tuple[str, ...]) -> tuple[Rule, ...]:
    return (
        *both("embedding.tokens", "embeddings.tok_embeddings"),
        *both("embedding.norm", "embeddings.norm"),
        *layers("layers.{i}", norms=("attn_norm", "mlp_norm"), qkv=qkv, output="attn.Wo", up=("mlp.Wi",), down="mlp.Wo"),
        *both("norm", "final_norm"),
    )


def _transform(name: str) -> tuple[Rule, ...]:
    return (*both("transform.dense", f"{name}.dense"), *both("transform.norm", f"{name}.norm"))


_BODY, _DECODER_BODY = _body(("attn.Wqkv",)), _body(split("attn.{}_proj"))
_DECODER = (Rule("bias_V", ("decoder.bias",)), Rule("decoder.weight", ("decoder.weight",)))
_CHOICE = (*_transform("head"), *both("output", "classifier"))

FAMILY = Family(
    name="modernbert",
    prefix="model",
    architectures=classes("ModernBert", **CHOICES, MaskedLM=("lm",)),
    fixed=_FIXED,
    settings=_SETTINGS,
    usual=_USUAL,
    read_more=partial(_read, "modernbert", 1),
    write_more=partial(_write, 1),
    body=lambda config: _BODY,
    heads={"lm": (*_transform("head"), *_DECODER), "classes": _CHOICE, "tags": _CHOICE, "span": _CHOICE},
    ignored=("rotary_emb.inv_freq",),
)

DECODER = Family(
    name="modernbert-decoder",
    prefix="model",
    architectures=classes("ModernBertDecoder", SequenceClassification=("classes",), CausalLM=("lm",)),
    fixed={**_FIXED, "is_causal": True, "window": 64},
    settings=_SETTINGS,
    usual=_USUAL,
    read_more=partial(_read, "modernbert-decoder", 0),
    write_more=partial(_write, 0),
    body=lambda config: _DECODER_BODY,
    heads={"lm": (*_transform("lm_head"), *_DECODER), "classes": _CHOICE},
    ignored=("rotary_emb.inv_freq",),
)
