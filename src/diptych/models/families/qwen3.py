"""Qwen3's decoder block (Yang et al. 2025): RMS norm, normed queries and keys, rotary positions, SwiGLU, grouped heads.

It is the modern block that we train by default: transformers, llama.cpp and vLLM all open it.
"""

from collections.abc import Mapping
from typing import Any

from diptych.errors import ModelError
from diptych.messages import _
from diptych.models.config import ModelConfig
from diptych.models.families.family import (
    ACTIVATION_THERE,
    Family,
    Rule,
    both,
    common_config,
    read_activation,
    read_common,
)


def shape(**sizes: Any) -> ModelConfig:
    """A Qwen3 decoder of these sizes."""
    fixed = {
        "family": "qwen3",
        "is_causal": True,
        "norm": "rms",
        "norm_eps": 1e-6,
        "activation": "silu",
        "is_gated": True,
        "positions": "rotary",
        "has_qk_norm": True,
        "has_attention_bias": False,
        "has_feed_forward_bias": False,
        "classifier": "last",
    }
    return ModelConfig(**{**fixed, **sizes})


def _read(hf: Mapping[str, Any]) -> ModelConfig:
    rope = hf.get("rope_parameters") or hf.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default":
        feature = _("rotary positions of type {name}").format(name=rope["rope_type"])
        raise ModelError("E304", feature=feature, family="qwen3")
    if hf.get("use_sliding_window") or "sliding_attention" in (hf.get("layer_types") or ()):
        raise ModelError("E304", feature=_("a sliding window"), family="qwen3")
    return shape(
        hidden_size=hf["hidden_size"],
        num_layers=hf["num_hidden_layers"],
        num_heads=hf["num_attention_heads"],
        num_kv_heads=hf.get("num_key_value_heads") or hf["num_attention_heads"],
        head_size=hf.get("head_dim") or 128,
        feed_forward_size=hf["intermediate_size"],
        context_length=hf["max_position_embeddings"],
        activation=read_activation("qwen3", hf, "hidden_act", "silu"),
        norm_eps=hf.get("rms_norm_eps", 1e-6),
        rope_theta=float(rope.get("rope_theta") or hf.get("rope_theta") or 10_000.0),
        has_attention_bias=hf.get("attention_bias", False),
        attention_dropout=hf.get("attention_dropout", 0.0),
        **read_common(hf, is_tied=False),
    )


def _write(config: ModelConfig) -> dict[str, Any]:
    return {
        "model_type": "qwen3",
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_size,
        "intermediate_size": config.feed_forward_size,
        "max_position_embeddings": config.context_length,
        "hidden_act": ACTIVATION_THERE[config.activation],
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "attention_bias": config.has_attention_bias,
        "attention_dropout": config.attention_dropout,
        **common_config(config),
    }


def _body(config: ModelConfig) -> list[Rule]:
    layer, bias = "layers.{i}", config.has_attention_bias
    return [
        Rule("embedding.tokens.weight", ("embed_tokens.weight",)),
        Rule("layers.{i}.attention_norm.weight", (f"{layer}.input_layernorm.weight",)),
        *both("layers.{i}.attention.qkv", *(f"{layer}.self_attn.{part}_proj" for part in "qkv"), bias=bias),
        *both("layers.{i}.attention.output", f"{layer}.self_attn.o_proj", bias=bias),
        Rule("layers.{i}.attention.query_norm.weight", (f"{layer}.self_attn.q_norm.weight",)),
        Rule("layers.{i}.attention.key_norm.weight", (f"{layer}.self_attn.k_norm.weight",)),
        Rule("layers.{i}.feed_forward_norm.weight", (f"{layer}.post_attention_layernorm.weight",)),
        Rule("layers.{i}.feed_forward.up.weight", (f"{layer}.mlp.gate_proj.weight", f"{layer}.mlp.up_proj.weight")),
        Rule("layers.{i}.feed_forward.down.weight", (f"{layer}.mlp.down_proj.weight",)),
        Rule("norm.weight", ("norm.weight",)),
    ]


FAMILY = Family(
    name="qwen3",
    prefix="model",
    architectures={
        "Qwen3ForSequenceClassification": ("classes",),
        "Qwen3ForTokenClassification": ("tags",),
        "Qwen3ForCausalLM": ("lm",),
        "Qwen3Model": (),
    },
    read_config=_read,
    write_config=_write,
    body=_body,
    heads={
        "lm": (Rule("decoder.weight", ("lm_head.weight",)),),
        "classes": (Rule("output.weight", ("score.weight",)),),
        "tags": (*both("output", "score"),),
    },
    ignored=("rotary_emb.inv_freq",),
)
