"""BERT (Devlin et al. 2018): bidirectional, norm after each sum, token types, a pooler."""

from diptych.models.families.family import OF_BERTS, SIZES, Family, Rule, both, classes, layers

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
    **SIZES,
    "num_token_types": ("type_vocab_size", 2),
    "activation": ("hidden_act", "gelu"),
    "norm_eps": ("layer_norm_eps", 1e-12),
    "dropout": ("hidden_dropout_prob", 0.1),
    "attention_dropout": ("attention_probs_dropout_prob", 0.1),
}
RENAMED = {".gamma": ".weight", ".beta": ".bias"}
"""Ends of names in the folders of TensorFlow's time."""
USUAL = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}


BODY = (
    *both("embedding.tokens", "embeddings.word_embeddings"),
    *both("embedding.positions", "embeddings.position_embeddings"),
    *both("embedding.types", "embeddings.token_type_embeddings"),
    *both("embedding.norm", "embeddings.LayerNorm"),
    *layers(
        "encoder.layer.{i}",
        norms=("attention.output.LayerNorm", "output.LayerNorm"),
        qkv=("attention.self.query", "attention.self.key", "attention.self.value"),
        output="attention.output.dense",
        up=("intermediate.dense",),
        down="output.dense",
    ),
)
"""The names of the body, which RoBERTa shares."""


def heads(pooler: str, dense: str, norm: str, lm: str, decoder: str, **others: tuple[Rule, ...]) -> dict[str, tuple[Rule, ...]]:
    """The heads of the three by what they call them: the language head has its bias under `lm` and its matrix under `decoder`."""
    return {
        "pooler": both("dense", pooler),
        "lm": (
            *both("transform.dense", dense),
            *both("transform.norm", norm),
            Rule("bias_V", (f"{lm}.bias",)),
            Rule("decoder.weight", (f"{decoder}.weight",)),
        ),
        "classes": both("output", "classifier"),
        "tags": both("output", "classifier"),
        "span": both("output", "qa_outputs"),
        **others,
    }


FAMILY = Family(
    name="bert",
    prefix="bert",
    architectures=classes("Bert", **OF_BERTS, PreTraining=("pooler", "lm", "nsp"), NextSentencePrediction=("pooler", "nsp")),
    fixed=FIXED,
    settings=SETTINGS,
    usual=USUAL,
    body=lambda config: BODY,
    heads=heads(
        pooler="bert.pooler.dense",
        dense="cls.predictions.transform.dense",
        norm="cls.predictions.transform.LayerNorm",
        lm="cls.predictions",
        decoder="cls.predictions.decoder",
        nsp=both("output", "cls.seq_relationship"),
    ),
    ignored=("embeddings.position_ids", "cls.predictions.decoder.bias"),
    renamed=RENAMED,
    twins={"cls.predictions.decoder.bias": "cls.predictions.bias"},
)
