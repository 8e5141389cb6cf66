"""Tensors that several ranks write together and any number of ranks can read, each its own share.

`torch.distributed.checkpoint` decides who writes what and which parts a reader needs. The files are safetensors that have
the place of each part in their headers: nothing in them is pickled.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diptych.training.sharding import shared_like

Groups = dict[str, dict[str, Tensor]]


def flatten(groups: Groups, room: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """A copy of all tensors as they are now, in main memory, under "group/name": the next step changes the originals.

    Args:
        room: an earlier copy that is no longer needed. It is written over, since memory that is new to a process has to be cleared
            for it page by page, which takes longer than the copying.
    """
    flat = {f"{group}/{name}": tensor.detach() for group, named in groups.items() for name, tensor in named.items()}
    return {key: _copy(tensor, (room or {}).get(key)) for key, tensor in flat.items()}


def _copy(tensor: Tensor, room: Tensor | None) -> Tensor:
    if room is None or (room.shape, room.dtype) != (tensor.shape, tensor.dtype):
        return tensor.to("cpu", copy=True)
    return room.copy_(tensor)


def write_together(folder: Path, flat: dict[str, Tensor], process_group: Any) -> None:
    """Write this rank's share of the tensors, and of those that every rank has the whole of, its part; all ranks call this.

    Raises:
        OSError: a rank could not write; every rank hears of it.
    """
    from torch.distributed.checkpoint import CheckpointException, HuggingFaceStorageWriter, save

    try:
        save(flat, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True), process_group=process_group)
    except CheckpointException as error:
        cause = next(iter(error.failures.values()))[0]
        raise cause if isinstance(cause, OSError) else OSError(str(cause)) from None


def read_together(folder: Path, pattern: Mapping[str, Tensor], process_group: Any = None) -> Groups:
    """What `write_together` wrote, each tensor cut as the parameter of its name in `pattern` is; whole where there is none."""
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load

    reader = HuggingFaceStorageReader(str(folder))
    flat: dict[str, Tensor] = {}
    for key, about in reader.read_metadata().state_dict_metadata.items():
        empty = torch.empty(about.size, dtype=about.properties.dtype)  # type: ignore[union-attr]
        flat[key] = cut(key.partition("/")[2], empty, pattern)
    load(flat, storage_reader=reader, process_group=process_group, no_dist=process_group is None)
    groups: Groups = {}
    for key, tensor in flat.items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = tensor
    return groups


def cut(name: str, whole: Tensor, pattern: Mapping[str, Tensor]) -> Tensor:
    """This rank's share of a tensor, as its parameter is cut: the one of its name, or of what stands before "|" in it."""
    owner = pattern.get(name, pattern.get(name.rpartition("|")[0]))
    return whole if owner is None else shared_like(whole, owner)
