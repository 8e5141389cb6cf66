"""DistilBERT (Sanh et al. 2019): BERT with half of the layers, without token types and without a pooler."""

from diptych.models.families import bert
from diptych.models.families.family import OF_BERTS, Family, both, classes, layers, split

_BODY = (
    *both("embedding.tokens", "embeddings.word_embeddings"),
    *both("embedding.positions", "embeddings.position_embeddings"),
    *both("embedding.norm", "embeddings.LayerNorm"),
    *layers(
        "transformer.layer.{i}",
        norms=("sa_layer_norm", "output_layer_norm"),
        qkv=split("attention.{}_lin"),
        output="attention.out_lin",
        up=("ffn.lin1",),
        down="ffn.lin2",
    ),
)

FAMILY = Family(
    name="distilbert",
    prefix="distilbert",
    architectures=classes("DistilBert", **OF_BERTS),
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
    body=lambda config: _BODY,
    heads=bert.heads("pre_classifier", "vocab_transform", "vocab_layer_norm", lm="vocab_projector", decoder="vocab_projector"),
    ignored=("embeddings.position_ids",),
    renamed=bert.RENAMED,
)
