"""The original Transformer (Vaswani et al. 2017): encoder and decoder, post-norm, sinusoids, one matrix for all embeddings.

Marian (Junczys-Dowmunt et al. 2018) is the same network in Hugging Face's collection, so that is how ours is written. Its
table of sinusoids holds all sines before all cosines, where the paper interleaves them; the table lies in our folders, and
one that has none means Marian's.
"""

import torch
from torch import Tensor

from diptych.models.config import ModelConfig
from diptych.models.families import bart
from diptych.models.families.family import Family, Rule
from diptych.models.positions import sinusoids


def _sines_first(config: ModelConfig) -> Tensor:
    table_TD = sinusoids(config.context_length, config.hidden_size)
    return torch.cat((table_TD[:, 0::2], table_TD[:, 1::2]), dim=1)


_TABLES = (
    Rule(f"{side}.embedding.positions.weight", (f"{side}.embed_positions.weight",), missing=_sines_first) for side in ("encoder", "decoder")
)
_BODY = (*bart.body(), *_TABLES)

FAMILY = Family(
    name="marian",
    prefix="model",
    architectures={"MarianMTModel": ("lm",), "MarianModel": ()},
    fixed={**bart.FIXED, "has_embedding_norm": False, "position_offset": 0, "positions": "sinusoidal", "activation": "relu"},
    settings=bart.SETTINGS,
    read_more=bart.read_scale,
    write_more=bart.write_scale,
    body=lambda config: _BODY,
    heads={"lm": bart.FAMILY.heads["lm"]},
    ignored=bart.FAMILY.ignored,
)
