"""Llama (Touvron et al. 2023) and its kin, Mistral and Qwen3: RMS norm, rotary positions, SwiGLU, grouped heads.

Qwen3 (Yang et al. 2025), with normed queries and keys, is the modern block that we train by default: transformers,
llama.cpp and vLLM all open it. Mistral (Jiang et al. 2023) sees a window in every layer.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from diptych.errors import ModelError
from diptych.models.config import ModelConfig
from diptych.models.families.family import DECODER_HEADS, OF_DECODERS, SIZES, Family, both, classes, layer_kinds, layers, read_kinds, split
from diptych.models.positions import SCALINGS

_FIXED = {
    "is_causal": True,
    "norm": "rms",
    "norm_eps": 1e-6,
    "has_free_heads": True,
    "activation": "silu",
    "is_gated": True,
    "positions": "rotary",
    "has_attention_bias": False,
    "has_feed_forward_bias": False,
    "classifier": "last",
}
_SETTINGS = {
    **SIZES,
    "activation": ("hidden_act", "silu"),
    "norm_eps": ("rms_norm_eps", 1e-6),
    "attention_dropout": ("attention_dropout", 0.0),
}


def _read(family: str, usual_head: int | None, hf: Mapping[str, Any]) -> dict[str, Any]:
    """`usual_head`: the head size where the config names none; None for hidden size / heads."""
    heads = hf["num_attention_heads"]
    theta, scaling = read_rope(family, hf)
    return {
        "num_kv_heads": hf.get("num_key_value_heads") or heads,
        "head_size": hf.get("head_dim") or usual_head or hf["hidden_size"] // heads,
        "rope_theta": theta,
        "rope_scaling": scaling,
        **_read_window(family, hf),
    }


def read_rope(family: str, hf: Mapping[str, Any]) -> tuple[float, tuple[tuple[str, Any], ...]]:
    """theta, and how the angles are stretched.

    Raises:
        ModelError E304: in a way that we do not have.
    """
    rope = {**(hf.get("rope_scaling") or {}), **(hf.get("rope_parameters") or {})}
    kind = rope.pop("rope_type", None) or rope.pop("type", None) or "default"
    theta = float(rope.pop("rope_theta", None) or hf.get("rope_theta") or 10_000.0)
    if kind == "default":
        return theta, ()
    if kind not in SCALINGS:
        raise ModelError("E304", feature=f"rope_type = {kind}", family=family)
    rope.pop("type", None)
    rope.setdefault("original_max_position_embeddings", hf["max_position_embeddings"])
    return theta, (("rope_type", kind), *((name, rope[name]) for name in sorted(rope) if rope[name] is not None))


def _read_window(family: str, hf: Mapping[str, Any]) -> dict[str, Any]:
    kinds = hf.get("layer_types") or []
    is_local = family == "mistral" or hf.get("use_sliding_window") or "sliding_attention" in kinds
    window = hf.get("sliding_window")
    if family == "llama" or not is_local or not window:
        return {}
    number = hf["num_hidden_layers"]
    kinds = kinds or [
        "full_attention" if i < hf.get("max_window_layers", 0) and family == "qwen3" else "sliding_attention" for i in range(number)
    ]
    return {"window": window, "global_every": read_kinds(family, kinds, number, range(number + 1))}


def _write(family: str, config: ModelConfig) -> dict[str, Any]:
    hf: dict[str, Any] = {
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_size,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta, **dict(config.rope_scaling)},
    }
    if family == "mistral":
        hf["sliding_window"] = config.window or None
    elif config.window:
        kinds = layer_kinds(config.global_every, config.num_layers)
        hf |= {"use_sliding_window": True, "sliding_window": config.window, "layer_types": kinds}
    return hf


_BODY = (
    *both("embedding.tokens", "embed_tokens"),
    *layers(
        "layers.{i}",
        norms=("input_layernorm", "post_attention_layernorm"),
        qkv=split("self_attn.{}_proj"),
        output="self_attn.o_proj",
        up=("mlp.gate_proj", "mlp.up_proj"),
        down="mlp.down_proj",
    ),
    *both("layers.{i}.attention.query_norm", "layers.{i}.self_attn.q_norm"),
    *both("layers.{i}.attention.key_norm", "layers.{i}.self_attn.k_norm"),
    *both("norm", "norm"),
)


def _family(name: str, theirs: str, biases: dict[str, Any], usual_head: int | None = None, **fixed: Any) -> Family:
    return Family(
        name=name,
        prefix="model",
        architectures=classes(theirs, **OF_DECODERS),
        fixed={**_FIXED, **fixed},
        settings={**_SETTINGS, **biases},
        usual={"pretraining_tp": 1},
        read_more=partial(_read, name, usual_head),
        write_more=partial(_write, name),
        is_tied=False,
        body=lambda config: _BODY,
        heads={**DECODER_HEADS, "tags": both("output", "score")},
        ignored=("rotary_emb.inv_freq",),
    )


_BIAS = {"has_attention_bias": ("attention_bias", False)}
LLAMA = _family("llama", "Llama", {**_BIAS, "has_feed_forward_bias": ("mlp_bias", False)})
MISTRAL = _family("mistral", "Mistral", {}, window=4096, global_every=0)
QWEN3 = _family("qwen3", "Qwen3", _BIAS, usual_head=128, has_qk_norm=True)
