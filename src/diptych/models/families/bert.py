"""BERT (Devlin et al. 2018): bidirectional, norm after each sum, token types, a pooler."""

from diptych.models.config import ModelConfig
from diptych.models.families.family import Family, Rule, both

FIXED = {
    "norm_place": "post",
    "norm_eps": 1e-12,
    "has_embedding_norm": True,
    "num_token_types": 2,
    "lm_transform": True,
    "has_lm_bias": True,
    "classifier": "pooler",
}
SETTINGS = {
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "feed_forward_size": "intermediate_size",
    "context_length": "max_position_embeddings",
    "num_token_types": ("type_vocab_size", 2),
    "activation": ("hidden_act", "gelu"),
    "norm_eps": ("layer_norm_eps", 1e-12),
    "dropout": ("hidden_dropout_prob", 0.1),
    "attention_dropout": ("attention_probs_dropout_prob", 0.1),
}
USUAL = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}


def body(config: ModelConfig) -> list[Rule]:
    """The names of the body, which RoBERTa shares."""
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
    fixed=FIXED,
    settings=SETTINGS,
    usual=USUAL,
    body=body,
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
