"""The weights of a network in eight bits, in one safetensors file under our own names; nothing else has a place for them.

The folder's config.json says which heads there are. Its tensors are checked before they are believed: integers where integers
belong, and no name that the network does not have.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from diptych.errors import ModelError
from diptych.messages import _
from diptych.models.config import ModelConfig
from diptych.models.heads import HEAD_NAMES
from diptych.models.transformer import Network, without_values
from diptych.surgery.quantize import large_matrices, to_int8

WEIGHTS = "int8.safetensors"
KEY = "diptych_int8"
"""Where config.json says that this is such a folder, and which heads and labels it has."""
_INTEGERS = ".matrix.int8_OI"


def describe(net: Network) -> dict[str, Any]:
    """What config.json keeps of a network in eight bits."""
    return {KEY: {"heads": [head for head in net.heads if head != "sentence"], "labels": list(net.config.labels)}}


def write_weights(net: Network, folder: Path) -> None:
    """Write all tensors, each once."""
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in _owned(net).items()}, folder / WEIGHTS, metadata={"format": "pt"}
    )


def build(config: ModelConfig, hf: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> Network:
    """The network of these tensors.

    Raises:
        ModelError E312: the config's own part cannot be read. E316: names are missing or unexpected. E317: a wrong shape or type.
    """
    said = hf[KEY]
    try:
        heads, labels = [str(name) for name in said["heads"]], tuple(str(label) for label in said["labels"])
        if not set(heads) <= set(HEAD_NAMES):
            raise ValueError(", ".join(heads))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError("E312", path=path.parent / "config.json", problem=_("{name} is missing").format(name=f"{KEY} ({error})")) from None
    names = [name.removesuffix(_INTEGERS) for name in tensors if name.endswith(_INTEGERS)]
    with without_values():
        net = Network(replace(config, labels=labels))
        for head in heads:
            net.ensure_head(head)
        unknown = sorted(set(names) - set(large_matrices(net)))
        if unknown:
            raise ModelError("E316", path=path, missing="–", unexpected=", ".join(unknown[:5]))
        to_int8(net, names)
    wanted = _owned(net)
    missing, unexpected = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing or unexpected:
        raise ModelError("E316", path=path, missing=", ".join(missing[:5]) or "–", unexpected=", ".join(unexpected[:5]) or "–")
    for name, tensor in tensors.items():
        kind = torch.int8 if name.endswith(_INTEGERS) else torch.float32
        if tensor.shape != wanted[name].shape or tensor.dtype != kind:
            expected, found = (tuple(wanted[name].shape), kind), (tuple(tensor.shape), tensor.dtype)
            raise ModelError("E317", path=path, name=name, expected=expected, found=found)
    # Copies of our own: a file that is mapped into memory may change or vanish under us.
    net.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()}, strict=False, assign=True)
    return net.eval()


def _owned(net: Network) -> dict[str, Tensor]:
    """Every tensor once, by the first of its names: heads may share a pooler."""
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}
