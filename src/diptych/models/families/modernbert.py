"""ModernBERT (Warner et al. 2024): rotary positions, gated GELU, norm before each sum, local layers between global ones.

The decoder of the same block (`modernbert-decoder`) has the same tensors; only queries, keys and values lie apart. The two
are the panels of a diptych: one set of weights, written as two folders.
"""

from collections.abc import Mapping
from typing import Any

from diptych.models.config import ModelConfig
from diptych.models.families.bert import ACTIVATION
from diptych.models.families.family import Family, Rule, both, common_config, read_labels, read_token_ids


def shape(**sizes: Any) -> ModelConfig:
    """A ModernBERT encoder of these sizes."""
    fixed = {
        "family": "modernbert",
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
    return ModelConfig(**{**fixed, **sizes})


def decoder_shape(**sizes: Any) -> ModelConfig:
    """A ModernBERT decoder of these sizes."""
    return shape(**{"family": "modernbert-decoder", "is_causal": True, "window": 64, "classifier": "last", **sizes})


def _reader(make: Any, extra: int) -> Any:
    """`extra`: the encoder's window counts the token itself, the decoder's does not."""

    def read(hf: Mapping[str, Any]) -> ModelConfig:
        kinds = hf.get("layer_types") or []
        globals_ = [number for number, kind in enumerate(kinds) if kind == "full_attention"]
        every = hf.get("global_attn_every_n_layers") or (globals_[1] if len(globals_) > 1 else max(1, len(kinds)) if kinds else 3)
        rope = hf.get("rope_parameters") or {}
        theta = rope.get("full_attention", {}).get("rope_theta") or hf.get("global_rope_theta") or 160_000.0
        local = rope.get("sliding_attention", {}).get("rope_theta") or hf.get("local_rope_theta") or 10_000.0
        return make(
            vocab_size=hf["vocab_size"],
            hidden_size=hf["hidden_size"],
            num_layers=hf["num_hidden_layers"],
            num_heads=hf["num_attention_heads"],
            feed_forward_size=hf["intermediate_size"],
            context_length=hf["max_position_embeddings"],
            activation=ACTIVATION[hf.get("hidden_activation", "gelu")],
            norm_eps=hf.get("norm_eps", 1e-5),
            rope_theta=float(theta),
            local_rope_theta=float(local),
            window=hf.get("local_attention", 128) // 2 + extra,
            global_every=every,
            dropout=hf.get("mlp_dropout", 0.0),
            attention_dropout=hf.get("attention_dropout", 0.0),
            initializer_range=hf.get("initializer_range", 0.02),
            is_tied=hf.get("tie_word_embeddings", True),
            labels=read_labels(hf),
            token_ids=read_token_ids(hf),
        )

    return read


def _writer(model_type: str, extra: int) -> Any:
    def write(config: ModelConfig) -> dict[str, Any]:
        kinds = ["sliding_attention" if config.is_local(i) else "full_attention" for i in range(config.num_layers)]
        return {
            "model_type": model_type,
            "hidden_size": config.hidden_size,
            "num_hidden_layers": config.num_layers,
            "num_attention_heads": config.num_heads,
            "intermediate_size": config.feed_forward_size,
            "max_position_embeddings": config.context_length,
            "hidden_activation": config.activation,
            "classifier_activation": config.activation,
            "norm_eps": config.norm_eps,
            "norm_bias": False,
            "layer_types": kinds,
            "global_attn_every_n_layers": config.global_every,
            "local_attention": 2 * (config.window - extra),
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": config.rope_theta},
                "sliding_attention": {"rope_type": "default", "rope_theta": config.local_rope_theta},
            },
            "mlp_dropout": config.dropout,
            "embedding_dropout": config.dropout,
            "attention_dropout": config.attention_dropout,
            "classifier_pooling": "cls",
            **common_config(config),
        }

    return write


def _body(is_split: bool) -> Any:
    def body(config: ModelConfig) -> list[Rule]:
        layer = "layers.{i}"
        qkv = [f"{layer}.attn.{part}_proj" for part in "qkv"] if is_split else [f"{layer}.attn.Wqkv"]
        return [
            Rule("embedding.tokens.weight", ("embeddings.tok_embeddings.weight",)),
            Rule("embedding.norm.weight", ("embeddings.norm.weight",)),
            Rule("layers.{i}.attention_norm.weight", (f"{layer}.attn_norm.weight",), is_optional=True),
            *both("layers.{i}.attention.qkv", *qkv, bias=False),
            *both("layers.{i}.attention.output", f"{layer}.attn.Wo", bias=False),
            Rule("layers.{i}.feed_forward_norm.weight", (f"{layer}.mlp_norm.weight",)),
            *both("layers.{i}.feed_forward.up", f"{layer}.mlp.Wi", bias=False),
            *both("layers.{i}.feed_forward.down", f"{layer}.mlp.Wo", bias=False),
            Rule("norm.weight", ("final_norm.weight",)),
        ]

    return body


def _transform(name: str) -> tuple[Rule, ...]:
    return (Rule("transform.dense.weight", (f"{name}.dense.weight",)), Rule("transform.norm.weight", (f"{name}.norm.weight",)))


_DECODER = (Rule("bias_V", ("decoder.bias",)), Rule("decoder.weight", ("decoder.weight",), is_optional=True))

FAMILY = Family(
    name="modernbert",
    prefix="model",
    architectures={
        "ModernBertForSequenceClassification": ("classes",),
        "ModernBertForMaskedLM": ("lm",),
        "ModernBertModel": (),
    },
    read_config=_reader(shape, 1),
    write_config=_writer("modernbert", 1),
    body=_body(is_split=False),
    heads={
        "lm": (*_transform("head"), *_DECODER),
        "classes": (*_transform("head"), *both("output", "classifier")),
    },
    ignored=("rotary_emb.inv_freq",),
)

DECODER = Family(
    name="modernbert-decoder",
    prefix="model",
    architectures={"ModernBertDecoderForCausalLM": ("lm",), "ModernBertDecoderModel": ()},
    read_config=_reader(decoder_shape, 0),
    write_config=_writer("modernbert-decoder", 0),
    body=_body(is_split=True),
    heads={"lm": (*_transform("lm_head"), *_DECODER)},
    ignored=("rotary_emb.inv_freq",),
)
