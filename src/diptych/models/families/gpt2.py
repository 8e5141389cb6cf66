"""GPT-2 (Radford et al. 2019): causal, norm before each sum, learned positions; its matrices are stored transposed."""

from collections.abc import Mapping
from typing import Any

from diptych.models.config import ModelConfig
from diptych.models.families.family import (
    ACTIVATION_THERE,
    Family,
    Rule,
    both,
    common_config,
    read_activation,
    read_common,
    refuse,
)


def shape(**sizes: Any) -> ModelConfig:
    """A GPT-2 of these sizes."""
    fixed = {"family": "gpt2", "is_causal": True, "activation": "gelu_tanh", "classifier": "last"}
    return ModelConfig(**{**fixed, **sizes})


def _read(hf: Mapping[str, Any]) -> ModelConfig:
    refuse("gpt2", hf, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    return shape(
        hidden_size=hf["n_embd"],
        num_layers=hf["n_layer"],
        num_heads=hf["n_head"],
        feed_forward_size=hf.get("n_inner") or 4 * hf["n_embd"],
        context_length=hf.get("n_positions") or hf["n_ctx"],
        activation=read_activation("gpt2", hf, "activation_function", "gelu_new"),
        norm_eps=hf.get("layer_norm_epsilon", 1e-5),
        dropout=hf.get("resid_pdrop", 0.1),
        attention_dropout=hf.get("attn_pdrop", 0.1),
        **read_common(hf),
    )


def _write(config: ModelConfig) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "n_embd": config.hidden_size,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.feed_forward_size,
        "n_positions": config.context_length,
        "activation_function": ACTIVATION_THERE[config.activation],
        "layer_norm_epsilon": config.norm_eps,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.attention_dropout,
        **common_config(config),
    }


def _body(config: ModelConfig) -> list[Rule]:
    return [
        Rule("embedding.tokens.weight", ("wte.weight",)),
        Rule("embedding.positions.weight", ("wpe.weight",)),
        *both("layers.{i}.attention_norm", "h.{i}.ln_1"),
        *both("layers.{i}.attention.qkv", "h.{i}.attn.c_attn", is_transposed=True),
        *both("layers.{i}.attention.output", "h.{i}.attn.c_proj", is_transposed=True),
        *both("layers.{i}.feed_forward_norm", "h.{i}.ln_2"),
        *both("layers.{i}.feed_forward.up", "h.{i}.mlp.c_fc", is_transposed=True),
        *both("layers.{i}.feed_forward.down", "h.{i}.mlp.c_proj", is_transposed=True),
        *both("norm", "ln_f"),
    ]


FAMILY = Family(
    name="gpt2",
    prefix="transformer",
    architectures={
        "GPT2ForSequenceClassification": ("classes",),
        "GPT2ForTokenClassification": ("tags",),
        "GPT2LMHeadModel": ("lm",),
        "GPT2Model": (),
    },
    read_config=_read,
    write_config=_write,
    body=_body,
    heads={
        "lm": (Rule("decoder.weight", ("lm_head.weight",)),),
        "classes": (Rule("output.weight", ("score.weight",)),),
        "tags": (*both("output", "classifier"),),
    },
    ignored=(".attn.bias", ".attn.masked_bias"),
)
