"""BERT (Devlin et al. 2018): bidirectional, norm after each sum, token types, a pooler."""

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
    """A BERT of these sizes."""
    fixed = {
        "family": "bert",
        "norm_place": "post",
        "norm_eps": 1e-12,
        "has_embedding_norm": True,
        "num_token_types": 2,
        "lm_transform": True,
        "has_lm_bias": True,
        "classifier": "pooler",
    }
    return ModelConfig(**{**fixed, **sizes})


def _read(hf: Mapping[str, Any]) -> ModelConfig:
    refuse("bert", hf, is_decoder=False, add_cross_attention=False, position_embedding_type="absolute")
    return shape(
        hidden_size=hf["hidden_size"],
        num_layers=hf["num_hidden_layers"],
        num_heads=hf["num_attention_heads"],
        feed_forward_size=hf["intermediate_size"],
        context_length=hf["max_position_embeddings"],
        num_token_types=hf.get("type_vocab_size", 2),
        activation=read_activation("bert", hf, "hidden_act", "gelu"),
        norm_eps=hf.get("layer_norm_eps", 1e-12),
        dropout=hf.get("hidden_dropout_prob", 0.1),
        attention_dropout=hf.get("attention_probs_dropout_prob", 0.1),
        **read_common(hf),
    )


def _write(config: ModelConfig) -> dict[str, Any]:
    return {
        "model_type": "bert",
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.feed_forward_size,
        "max_position_embeddings": config.context_length,
        "type_vocab_size": config.num_token_types,
        "hidden_act": ACTIVATION_THERE[config.activation],
        "layer_norm_eps": config.norm_eps,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        **common_config(config),
    }


def _body(config: ModelConfig) -> list[Rule]:
    layer = "encoder.layer.{i}"
    self_attention = f"{layer}.attention.self"
    return [
        Rule("embedding.tokens.weight", ("embeddings.word_embeddings.weight",)),
        Rule("embedding.positions.weight", ("embeddings.position_embeddings.weight",)),
        Rule("embedding.types.weight", ("embeddings.token_type_embeddings.weight",)),
        *both("embedding.norm", "embeddings.LayerNorm"),
        *both("layers.{i}.attention.qkv", *(f"{self_attention}.{part}" for part in ("query", "key", "value"))),
        *both("layers.{i}.attention.output", f"{layer}.attention.output.dense"),
        *both("layers.{i}.attention_norm", f"{layer}.attention.output.LayerNorm"),
        *both("layers.{i}.feed_forward.up", f"{layer}.intermediate.dense"),
        *both("layers.{i}.feed_forward.down", f"{layer}.output.dense"),
        *both("layers.{i}.feed_forward_norm", f"{layer}.output.LayerNorm"),
    ]


FAMILY = Family(
    name="bert",
    prefix="bert",
    architectures={
        "BertForSequenceClassification": ("pooler", "classes"),
        "BertForTokenClassification": ("tags",),
        "BertForQuestionAnswering": ("span",),
        "BertForPreTraining": ("pooler", "lm", "nsp"),
        "BertForMaskedLM": ("lm",),
        "BertForNextSentencePrediction": ("pooler", "nsp"),
        "BertModel": (),
    },
    read_config=_read,
    write_config=_write,
    body=_body,
    heads={
        "pooler": (*both("dense", "bert.pooler.dense"),),
        "lm": (
            *both("transform.dense", "cls.predictions.transform.dense"),
            *both("transform.norm", "cls.predictions.transform.LayerNorm"),
            Rule("bias_V", ("cls.predictions.bias",)),
            Rule("decoder.weight", ("cls.predictions.decoder.weight",)),
        ),
        "nsp": (*both("output", "cls.seq_relationship"),),
        "classes": (*both("output", "classifier"),),
        "tags": (*both("output", "classifier"),),
        "span": (*both("output", "qa_outputs"),),
    },
    ignored=("embeddings.position_ids", "cls.predictions.decoder.bias"),
    renamed={".gamma": ".weight", ".beta": ".bias"},
    twins={"cls.predictions.decoder.bias": "cls.predictions.bias"},
)
