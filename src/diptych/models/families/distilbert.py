"""DistilBERT (Sanh et al. 2019): BERT with half of the layers, without token types and without a pooler."""

from diptych.models.config import ModelConfig
from diptych.models.families.bert import FIXED
from diptych.models.families.family import Family, Rule, both


def _body(config: ModelConfig) -> list[Rule]:
    layer = "transformer.layer.{i}"
    return [
        Rule("embedding.tokens.weight", ("embeddings.word_embeddings.weight",)),
        Rule("embedding.positions.weight", ("embeddings.position_embeddings.weight",)),
        *both("embedding.norm", "embeddings.LayerNorm"),
        *both("layers.{i}.attention.qkv", *(f"{layer}.attention.{part}_lin" for part in "qkv")),
        *both("layers.{i}.attention.output", f"{layer}.attention.out_lin"),
        *both("layers.{i}.attention_norm", f"{layer}.sa_layer_norm"),
        *both("layers.{i}.feed_forward.up", f"{layer}.ffn.lin1"),
        *both("layers.{i}.feed_forward.down", f"{layer}.ffn.lin2"),
        *both("layers.{i}.feed_forward_norm", f"{layer}.output_layer_norm"),
    ]


FAMILY = Family(
    name="distilbert",
    prefix="distilbert",
    architectures={
        "DistilBertForSequenceClassification": ("pooler", "classes"),
        "DistilBertForTokenClassification": ("tags",),
        "DistilBertForQuestionAnswering": ("span",),
        "DistilBertForMaskedLM": ("lm",),
        "DistilBertModel": (),
    },
    fixed={**FIXED, "num_token_types": 0, "pooler_activation": "relu"},
    settings={
        "hidden_size": "dim",
        "num_layers": "n_layers",
        "num_heads": "n_heads",
        "feed_forward_size": "hidden_dim",
        "context_length": ("max_position_embeddings", 512),
        "activation": ("activation", "gelu"),
        "dropout": ("dropout", 0.1),
        "attention_dropout": ("attention_dropout", 0.1),
    },
    body=_body,
    heads={
        "pooler": (*both("dense", "pre_classifier"),),
        "lm": (
            *both("transform.dense", "vocab_transform"),
            *both("transform.norm", "vocab_layer_norm"),
            Rule("bias_V", ("vocab_projector.bias",)),
            Rule("decoder.weight", ("vocab_projector.weight",)),
        ),
        "classes": (*both("output", "classifier"),),
        "tags": (*both("output", "classifier"),),
        "span": (*both("output", "qa_outputs"),),
    },
    ignored=("embeddings.position_ids",),
    renamed={".gamma": ".weight", ".beta": ".bias"},
)
