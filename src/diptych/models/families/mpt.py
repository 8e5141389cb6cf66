"""MPT (MosaicML 2023): a decoder without biases and without position vectors: scores fall with distance (ALiBi, Press et al. 2021)."""

from collections.abc import Mapping
from typing import Any

from diptych.models.config import ModelConfig
from diptych.models.families.family import DECODER_HEADS, OF_DECODERS, Family, both, classes, layers, refuse


def _read(hf: Mapping[str, Any]) -> dict[str, Any]:
    attention = hf.get("attn_config") or {}
    refuse("mpt", attention, attn_type="multihead_attention", clip_qkv=None, qk_ln=False, prefix_lm=False, alibi=True, alibi_bias_max=8)
    refuse("mpt", attention, softmax_scale=None)
    # Their expansion_ratio is a whole number that no class of theirs reads: the net is four times as wide inside.
    return {"feed_forward_size": 4 * hf["d_model"], "attention_dropout": float(attention.get("attn_pdrop", 0.0))}


def _write(config: ModelConfig) -> dict[str, Any]:
    return {
        "expansion_ratio": 4,
        "emb_pdrop": config.dropout,
        "no_bias": True,
        # transformers takes whole numbers alone for its dropout.
        "attn_config": {"alibi": True, **({"attn_pdrop": config.attention_dropout} if config.attention_dropout else {})},
    }


_BODY = (
    *both("embedding.tokens", "wte"),
    *layers(
        "blocks.{i}", norms=("norm_1", "norm_2"), qkv=("attn.Wqkv",), output="attn.out_proj", up=("ffn.up_proj",), down="ffn.down_proj"
    ),
    *both("norm", "norm_f"),
)

FAMILY = Family(
    name="mpt",
    prefix="transformer",
    architectures=classes("Mpt", **OF_DECODERS),
    fixed={
        "is_causal": True,
        "positions": "alibi",
        "has_norm_bias": False,
        "has_attention_bias": False,
        "has_feed_forward_bias": False,
        "classifier": "last",
    },
    settings={
        "hidden_size": "d_model",
        "num_layers": "n_layers",
        "num_heads": "n_heads",
        "context_length": "max_seq_len",
        "norm_eps": ("layer_norm_epsilon", 1e-5),
        "dropout": ("resid_pdrop", 0.0),
    },
    usual={"no_bias": True, "logit_scale": None},
    read_more=_read,
    write_more=_write,
    body=lambda config: _BODY,
    heads=DECODER_HEADS,
)
