"""BART (Lewis et al. 2020): an encoder that reads and a decoder that writes, both post-norm with learned positions."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from diptych.models.config import ModelConfig
from diptych.models.families.family import Family, Rule, both, classes, layers, refuse, split

OFFSET = 2
FIXED = {
    "norm_place": "post",
    "position_offset": OFFSET,
    "has_embedding_norm": True,
    "has_lm_bias": True,
    "classifier": "pooler",
}
SETTINGS = {
    "hidden_size": "d_model",
    "num_layers": "encoder_layers",
    "num_decoder_layers": "decoder_layers",
    "num_heads": "encoder_attention_heads",
    "feed_forward_size": "encoder_ffn_dim",
    "context_length": ("max_position_embeddings", 1024),
    "activation": ("activation_function", "gelu"),
    "initializer_range": ("init_std", 0.02),
    "dropout": ("dropout", 0.1),
    "attention_dropout": ("attention_dropout", 0.0),
}


def read_scale(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Whether embeddings are scaled; encoder and decoder must be of the same shape."""
    name = str(hf.get("model_type", "bart"))
    heads, size = hf["encoder_attention_heads"], hf["encoder_ffn_dim"]
    refuse(name, hf, decoder_attention_heads=heads, decoder_ffn_dim=size, share_encoder_decoder_embeddings=True, normalize_before=False)
    return {"embedding_scale": float(hf["d_model"]) ** 0.5 if hf.get("scale_embedding") else 1.0}


def write_scale(config: ModelConfig) -> dict[str, Any]:
    """What `read_scale` reads, and the special tokens, whose usual numbers lie beyond a small vocabulary."""
    ids = dict(config.token_ids)
    end = ids.get("eos", ids.get("sep", 0))
    return {
        "scale_embedding": config.embedding_scale != 1.0,
        "decoder_attention_heads": config.num_heads,
        "decoder_ffn_dim": config.feed_forward_size,
        "activation_dropout": 0.0,
        "is_encoder_decoder": True,
        "pad_token_id": ids.get("pad", 0),
        "bos_token_id": ids.get("bos"),
        "eos_token_id": end,
        "decoder_start_token_id": config.decoder_start_id,
        "forced_eos_token_id": None,
    }


def no_bias(config: ModelConfig) -> Tensor:
    """The bias of the logits of a folder that has none: it is a buffer there, and some leave it out."""
    return torch.zeros(1, config.vocab_size)


def body(**of_embedding: str) -> tuple[Rule, ...]:
    """The names of encoder and decoder, which Marian shares.

    Args:
        of_embedding: what theirs call the parts of an embedding besides the tokens.
    """
    rules = both("encoder.embedding.tokens", "shared")
    for side in ("encoder", "decoder"):
        layer = f"{side}.layers.{{i}}"
        for ours, theirs in of_embedding.items():
            rules += both(f"{side}.embedding.{ours}", f"{side}.{theirs}")
        rules += layers(
            layer,
            norms=("self_attn_layer_norm", "final_layer_norm"),
            qkv=split("self_attn.{}_proj"),
            output="self_attn.out_proj",
            up=("fc1",),
            down="fc2",
            ours=layer,
        )
    cross = "decoder.layers.{i}"
    return (
        *rules,
        *both(f"{cross}.cross.query", f"{cross}.encoder_attn.q_proj"),
        *both(f"{cross}.cross.key_value", *split(f"{cross}.encoder_attn.{{}}_proj", "kv")),
        *both(f"{cross}.cross.output", f"{cross}.encoder_attn.out_proj"),
        *both(f"{cross}.cross_norm", f"{cross}.encoder_attn_layer_norm"),
    )


_BODY = body(norm="layernorm_embedding", positions="embed_positions")

FAMILY = Family(
    name="bart",
    prefix="model",
    architectures=classes("Bart", SequenceClassification=("pooler", "classes"), QuestionAnswering=("span",), ConditionalGeneration=("lm",)),
    fixed=FIXED,
    settings=SETTINGS,
    # Untied, encoder and decoder have embeddings of their own as well; nobody published such a one.
    usual={"tie_word_embeddings": True},
    read_more=read_scale,
    write_more=write_scale,
    body=lambda config: _BODY,
    heads={
        "pooler": both("dense", "classification_head.dense"),
        "lm": (
            Rule("bias_V", ("final_logits_bias",), is_row=True, missing=no_bias),
            Rule("decoder.weight", ("lm_head.weight",)),
        ),
        "classes": both("output", "classification_head.out_proj"),
        "span": both("output", "qa_outputs"),
    },
    ignored=("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
)
