"""RNN, GRU and LSTM nets. transformers has no class for them, so the folder's `model_type` is our own: "diptych-lstm".

Everything else about the folder is as ever: config.json, safetensors, tokenizer. The tensors keep torch's names, so that
`nn.LSTM.load_state_dict` takes a layer's as they are: `model.layers.0.weight_ih_l0` and so on.
"""

from collections.abc import Mapping
from typing import Any

from diptych.models.families.family import CHOICES, Family, Rule, both, classes

PARTS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def _read(hf: Mapping[str, Any]) -> dict[str, Any]:
    is_causal = not hf["is_bidirectional"]
    return {"is_causal": is_causal, "pooling": "first" if is_causal else "mean"}


_NAMES = ("embedding.tokens.weight", *(f"layers.{{i}}.{part}{way}" for way in ("", "_reverse") for part in PARTS))
_BODY = tuple(Rule(name, (name,)) for name in _NAMES)


def _family(cell: str) -> Family:
    prefix = f"Diptych{cell.upper()}"
    return Family(
        name=f"diptych-{cell}",
        prefix="model",
        architectures={**classes(prefix, **CHOICES, PreTraining=("lm", "nsp")), f"{prefix}LMHeadModel": ("lm",)},
        fixed={"cell": cell, "is_causal": True, "positions": "none", "classifier": "last"},
        settings={
            "hidden_size": "hidden_size",
            "num_layers": "num_hidden_layers",
            "context_length": "max_position_embeddings",
            "dropout": "dropout",
        },
        read_more=_read,
        write_more=lambda config: {"is_bidirectional": not config.is_causal},
        body=lambda config: _BODY,
        heads={
            "lm": both("decoder", "lm_head"),
            "nsp": both("output", "seq_relationship"),
            "classes": both("output", "classifier"),
            "tags": both("output", "tagger"),
            "span": both("output", "qa_outputs"),
        },
    )


FAMILIES = tuple(map(_family, ("rnn", "gru", "lstm")))
