"""Sizes that make sense, by name, and networks with fresh weights.

`gpt-*` is the modern decoder (Qwen3's block) and `modernbert-*` the modern encoder, `hybrid-*` both in one; `bert-*` and
`gpt2-*` are the classics, `transformer-*` is the original encoder-decoder. All of these open with transformers' AutoModel
and no code of ours.

`rnn-*`, `gru-*` and `lstm-*` are what there was before, for writing; `birnn-*`, `bigru-*` and `bilstm-*` read in both
directions and judge texts. transformers has no class for them: their folders are read by Diptych alone.

A name that ends in a number of parameters, such as `gpt-3-125m` or `bert-110m`, is a published shape; see `diptych/sizes.py`.
"""

from fnmatch import fnmatchcase
from typing import Any

import torch

from diptych.config import nearest
from diptych.errors import ModelError
from diptych.messages import _
from diptych.models.config import ModelConfig, known_fields
from diptych.models.families import FAMILIES
from diptych.models.recurrent import CELLS
from diptych.models.transformer import Network, initialize, without_values
from diptych.sizes import PUBLISHED, is_unpublished

_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    # name: Hugging Face's model type, and what is ours to choose
    "bert": ("bert", {}),
    "roberta": ("roberta", {}),
    "distilbert": ("distilbert", {}),
    "modernbert": ("modernbert", {"pooling": "mean"}),
    "gpt2": ("gpt2", {}),
    "gpt3": ("gpt_neo", {}),
    "mpt": ("mpt", {}),
    "llama": ("llama", {}),
    "mistral": ("mistral", {"window": 128}),
    "gpt": ("qwen3", {}),
    "modernbert-decoder": ("modernbert-decoder", {}),
    "hybrid": ("modernbert", {"is_hybrid": True, "pooling": "mean"}),
    "transformer": ("marian", {}),
    "bart": ("bart", {}),
    "t5": ("t5", {"is_gated": True, "activation": "gelu_tanh"}),
    **{cell: (f"diptych-{cell}", {}) for cell in CELLS},
    **{f"bi{cell}": (f"diptych-{cell}", {"is_causal": False, "pooling": "mean"}) for cell in CELLS},
}
_SIZES: dict[str, dict[str, int]] = {
    # name: layers, hidden size, head size, context length
    "tiny": {"num_layers": 2, "hidden_size": 128, "head_size": 32, "context_length": 128},
    "mini": {"num_layers": 4, "hidden_size": 256, "head_size": 64, "context_length": 256},
    "small": {"num_layers": 6, "hidden_size": 384, "head_size": 64, "context_length": 512},
    "medium": {"num_layers": 8, "hidden_size": 512, "head_size": 64, "context_length": 512},
    "base": {"num_layers": 12, "hidden_size": 768, "head_size": 64, "context_length": 1024},
}
ENCODER_DECODERS = ("transformer", "bart", "t5")
BASE_WIDTH = 768
_DEFAULT_VOCABULARY = {"tiny": 4096, "mini": 8192, "small": 16_384, "medium": 16_384, "base": 32_768}


def list_presets(pattern: str = "*") -> list[str]:
    """The names of the presets that match a pattern such as "gpt-*"."""
    names = [*(f"{family}-{size}" for family in _FAMILIES for size in _SIZES), *PUBLISHED]
    return [name for name in names if fnmatchcase(name, pattern)]


def preset_config(preset: str, **sizes: Any) -> ModelConfig:
    """The shape of a preset, with any field changed by `sizes`.

    Raises:
        ModelError E305: there is no such preset. E306: there is no such field. E301: sizes that do not fit together.
        E342: a recurrent net has no such size.
    """
    family, _dash, size = preset.rpartition("-")
    if preset not in list_presets():
        # With a size it is one of our presets, misspelt.
        if is_unpublished(preset) and size[-1:].lower() not in ("m", "b"):
            raise ModelError("E307")
        raise ModelError("E305", name=preset, hint=nearest(preset, list_presets()))
    for name in sizes:
        if name not in known_fields():
            raise ModelError("E306", name=name, hint=nearest(name, known_fields()))
    if preset in PUBLISHED:
        published = PUBLISHED[preset]
        return FAMILIES[published.family].shape(**{**published.shape, **sizes})
    kind, chosen = FAMILIES[_FAMILIES[family][0]], _FAMILIES[family][1]
    values: dict[str, Any] = {"vocab_size": _DEFAULT_VOCABULARY[size], **_SIZES[size], **chosen}
    if "cell" in kind.fixed:
        # No heads, and two layers: more are hard to train where nothing is added to what came in.
        del values["head_size"]
        return kind.shape(**{**values, "num_layers": 2, **sizes})
    values |= sizes
    for name in ("hidden_size", "head_size", "num_heads"):
        if not isinstance(values.get(name, 1), int) or values.get(name, 1) < 1:
            raise ModelError("E301", field=name, value=values[name], rule=_("at least 1"))
    hidden = values["hidden_size"]
    if "num_heads" not in sizes:
        values["num_heads"] = _num_heads(hidden, values["head_size"])
    if "head_size" not in sizes:
        values["head_size"] = hidden // values["num_heads"]
    if "feed_forward_size" not in sizes:
        is_gated = {**kind.fixed, **chosen}.get("is_gated", False)
        # A gate makes three matrices of two: 8/3 of the hidden size keeps the number of parameters, rounded to whole vectors.
        values["feed_forward_size"] = -(-hidden * 8 // 3 // 32) * 32 if is_gated else 4 * hidden
    # 0.02 is right for BERT-base; a narrower matrix needs larger numbers for sums of the same size.
    values.setdefault("initializer_range", float(f"{0.02 * max(1.0, BASE_WIDTH / hidden) ** 0.5:.2g}"))
    if family in ENCODER_DECODERS:
        values.setdefault("num_decoder_layers", values["num_layers"])
    if family == "transformer":
        values.setdefault("embedding_scale", float(hidden) ** 0.5)
    return kind.shape(**values)


def create(preset: str, *, seed: int = 0, **sizes: Any) -> Network:
    """A network of this preset with fresh weights, the same for the same seed, with its language head.

    Example: `create("bert-tiny", vocab_size=100, hidden_size=128, num_layers=2)`
    """
    return build(preset_config(preset, **sizes), seed=seed)


def build(config: ModelConfig, *, seed: int = 0) -> Network:
    """A network of this shape with fresh weights and its language head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Network(config)
    initialize(net, config, seed)
    net.ensure_head("lm", seed=seed)
    return net.eval()


def num_parameters(config: ModelConfig) -> int:
    """How many weights a network of this shape has, without making them."""
    with without_values():
        net = Network(config)
        net.ensure_head("lm")
    return sum(parameter.numel() for parameter in net.parameters())


def _num_heads(hidden: int, head_size: int) -> int:
    """The number of heads nearest to `hidden / head_size` that divides the hidden size evenly."""
    fitting = [heads for heads in range(1, hidden + 1) if hidden % heads == 0 and (hidden // heads) % 2 == 0]
    if not fitting:
        return 1
    return min(fitting, key=lambda heads: (abs(heads - hidden / head_size), heads))
