"""DistilBERT (Sanh et al. 2019): BERT with half of the layers, without token types and without a pooler."""

from diptych.models.config import ModelConfig
from diptych.models.families import bert
from diptych.models.families.family import Family, Rule, both, classes


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
    architectures=classes(
        "DistilBert",
        SequenceClassification=("pooler", "classes"),
        TokenClassification=("tags",),
        QuestionAnswering=("span",),
        MaskedLM=("lm",),
    ),
    fixed={**bert.FIXED, "num_token_types": 0, "pooler_activation": "relu"},
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
    heads=bert.heads("pre_classifier", "vocab_transform", "vocab_layer_norm", lm="vocab_projector", decoder="vocab_projector"),
    ignored=("embeddings.position_ids",),
    renamed=bert.RENAMED,
)
