"""Turn the pickled weights of an old folder into safetensors, in a folder of its own.

A pickle is a program, and opening one runs it. `torch.load(weights_only=True)` is no general unpickler: it knows a handful of
operations and builds tensors and plain containers from them, nothing else; what asks for more is refused. Only this file uses it,
only for a folder that a person names for this purpose; every other way into Diptych reads safetensors alone.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from diptych.errors import ModelError
from diptych.formats.atomic import atomic_folder
from diptych.formats.folder import WEIGHTS, read_shape

NAME, SHARDS = "pytorch_model.bin", "pytorch_model.bin.index.json"
BESIDE = (".json", ".txt", ".jinja", ".md")
"""What is copied besides the weights: config, tokenizer, card."""


def convert(folder: str | Path, out: str | Path) -> Path:
    """Write `folder` anew as `out`, with its weights as safetensors.

    Raises:
        ModelError E311: there is nothing to convert. E336: a file holds more than tensors, or is damaged.
    """
    source, target = Path(folder), Path(out)
    read_shape(source)
    tensors: dict[str, Tensor] = {}
    for path in _files(source):
        tensors |= _tensors(path)
    with atomic_folder(target) as part:
        for path in sorted(source.iterdir()):
            if path.is_file() and path.suffix in BESIDE and path.name != SHARDS:
                shutil.copyfile(path, part / path.name)
        # Tied weights are one block of memory under two names; safetensors wants each name to have its own.
        save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, part / WEIGHTS, metadata={"format": "pt"})
    return target


def _files(folder: Path) -> list[Path]:
    """The pickles that hold the weights: one, or those that an index names; it may not name files elsewhere."""
    if (folder / NAME).exists():
        return [folder / NAME]
    index = folder / SHARDS
    if not index.exists():
        raise ModelError("E311", path=folder, file=NAME)
    try:
        names = sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        raise ModelError("E312", path=index, problem=error) from None
    for name in names:
        if "/" in name or "\\" in name or not name.endswith(".bin"):
            raise ModelError("E312", path=index, problem=name)
        if not (folder / name).exists():
            raise ModelError("E311", path=folder, file=name)
    return [folder / name for name in names]


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError("E336", path=path, problem=str(error).strip().splitlines()[0][:200] if str(error).strip() else error) from None
    if not isinstance(found, dict) or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()):
        raise ModelError("E336", path=path, problem="state_dict")
    return found
