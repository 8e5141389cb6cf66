"""T5 (Raffel et al. 2020): encoder and decoder, pre-norm without biases; scores depend on the distance, in buckets, and are not scaled.

Version 1.1 has a gated feed-forward net, a vocabulary matrix of its own for the output, and does not scale before it.
"""

from collections.abc import Mapping
from typing import Any

from diptych.errors import ModelError
from diptych.models.config import ModelConfig
from diptych.models.families.family import ACTIVATION, ACTIVATION_THERE, Family, Rule, both, layers, split


def _read(hf: Mapping[str, Any]) -> dict[str, Any]:
    gate, _dash, kind = hf.get("feed_forward_proj", "relu").rpartition("-")
    # Google's config says gelu and means its approximation by tanh.
    kind = "gelu_new" if hf.get("feed_forward_proj") == "gated-gelu" else kind
    if kind not in ACTIVATION or gate not in ("", "gated"):
        raise ModelError("E304", feature=f"feed_forward_proj = {hf.get('feed_forward_proj')}", family="t5")
    is_scaled = hf.get("scale_decoder_outputs", hf.get("tie_word_embeddings", True))
    return {
        "num_decoder_layers": hf.get("num_decoder_layers") or hf["num_layers"],
        # Their positions have no end; ours must be told how long a text may be.
        "context_length": hf.get("n_positions", 512),
        "is_gated": gate == "gated",
        "activation": ACTIVATION[kind],
        "lm_scale": float(hf["d_model"]) ** -0.5 if is_scaled else 1.0,
    }


def _write(config: ModelConfig) -> dict[str, Any]:
    ids = dict(config.token_ids)
    kind = "gated-gelu" if config.is_gated and config.activation == "gelu_tanh" else None
    plain = ACTIVATION_THERE[config.activation]
    return {
        "feed_forward_proj": kind or (f"gated-{plain}" if config.is_gated else plain),
        "num_decoder_layers": config.num_decoder_layers,
        "n_positions": config.context_length,
        "scale_decoder_outputs": config.lm_scale != 1.0,
        "is_encoder_decoder": True,
        "pad_token_id": ids.get("pad", 0),
        "eos_token_id": ids.get("eos", ids.get("sep", 1)),
        "decoder_start_token_id": config.decoder_start_id,
    }


def _body(config: ModelConfig) -> tuple[Rule, ...]:
    rules = both("encoder.embedding.tokens", "shared")
    for side, last in (("encoder", 1), ("decoder", 2)):
        rules += both(f"{side}.bias.table", f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias")
        rules += layers(
            f"{side}.block.{{i}}.layer",
            norms=("0.layer_norm", f"{last}.layer_norm"),
            qkv=split("0.SelfAttention.{}"),
            output="0.SelfAttention.o",
            up=split(f"{last}.DenseReluDense.{{}}", ("wi_0", "wi_1") if config.is_gated else ("wi",)),
            down=f"{last}.DenseReluDense.wo",
            ours=f"{side}.layers.{{i}}",
        )
        rules += both(f"{side}.norm", f"{side}.final_layer_norm")
    ours, theirs = "decoder.layers.{i}", "decoder.block.{i}.layer.1"
    return (
        *rules,
        *both(f"{ours}.cross_norm", f"{theirs}.layer_norm"),
        *both(f"{ours}.cross.query", f"{theirs}.EncDecAttention.q"),
        *both(f"{ours}.cross.key_value", *split(f"{theirs}.EncDecAttention.{{}}", "kv")),
        *both(f"{ours}.cross.output", f"{theirs}.EncDecAttention.o"),
    )


FAMILY = Family(
    name="t5",
    prefix="",
    architectures={"T5ForConditionalGeneration": ("lm",), "T5Model": ()},
    fixed={
        "norm": "rms",
        "norm_eps": 1e-6,
        "has_free_heads": True,
        "positions": "relative",
        "activation": "relu",
        "attention_scale": 1.0,
        "has_attention_bias": False,
        "has_feed_forward_bias": False,
        "classifier": "last",
    },
    settings={
        "hidden_size": "d_model",
        "num_layers": "num_layers",
        "num_heads": "num_heads",
        "head_size": "d_kv",
        "feed_forward_size": "d_ff",
        "relative_buckets": ("relative_attention_num_buckets", 32),
        "relative_distance": ("relative_attention_max_distance", 128),
        "norm_eps": ("layer_norm_epsilon", 1e-6),
        "dropout": ("dropout_rate", 0.1),
    },
    read_more=_read,
    write_more=_write,
    body=_body,
    heads={"lm": both("decoder", "lm_head")},
    ignored=("embed_tokens.weight", "EncDecAttention.relative_attention_bias.weight"),
)
