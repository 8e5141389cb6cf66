"""Small networks of every family, with weights far from a fresh model's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

SMALL = {"vocab_size": 61, "hidden_size": 16, "num_layers": 4, "head_size": 8, "context_length": 64, "feed_forward_size": 24}
SHAPES: dict[str, dict[str, Any]] = {
    "bert": {},
    "gpt2": {},
    "gpt": {"num_heads": 4, "num_kv_heads": 2, "head_size": 6},
    # Global layers with local ones between, whose windows are shorter than the texts.
    "modernbert": {"window": 4, "global_every": 2},
    "modernbert-decoder": {"window": 4, "global_every": 2},
    "roberta": {},
    "distilbert": {},
    "gpt3": {"window": 4},
    "mpt": {"feed_forward_size": 64},
    "llama": {"num_heads": 4, "num_kv_heads": 2, "head_size": 6},
    "mistral": {"window": 5},
}


@pytest.fixture
def random_net() -> Callable[..., Any]:
    """random_net("gpt", num_layers=1) makes a network of a family whose norms and biases are drawn too."""
    from diptych.models.presets import create

    def make(family: str, *heads: str, seed: int = 0, **sizes: Any) -> Any:
        net = create(f"{family}-tiny", seed=seed, **{**SMALL, **SHAPES[family], **sizes})
        for head in heads:
            net.ensure_head(head, labels=("a", "b", "c") if head in ("classes", "tags") else ())
        chance = torch.Generator().manual_seed(seed)
        for module in net.modules():
            for name, parameter in module.named_parameters(recurse=False):
                is_norm = isinstance(module, nn.LayerNorm | nn.RMSNorm) and name == "weight"
                with torch.no_grad():
                    parameter.normal_(0, 0.3, generator=chance).add_(1.0 if is_norm else 0.0)
        return net

    return make
