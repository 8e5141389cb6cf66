"""Checkpoints: what a killed run needs to go on as if nothing had happened.

Each is a folder `step-00000200/` that is written beside, flushed to the disk and renamed, so it is there whole or not at
all; checksums tell a damaged one, and the one before it is kept. Tensors are safetensors: nothing is unpickled.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diptych.errors import MachineError, TrainingError, of_system

KEPT = 2
"""How many checkpoints stay on the disk."""


def save_checkpoint(folder: Path, step: int, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> Path:
    """Write one checkpoint and drop those that are no longer needed.

    Args:
        tensors: groups of named tensors, one file each ("weights", "optimizer", "best").

    Raises:
        MachineError E902: the disk is full. E904: it cannot be written to. What was there before still stands.
    """
    target = folder / f"step-{step:08d}"
    part = folder / f".writing-{os.getpid()}"
    with writing_errors_named(part, target):
        for left in folder.glob(".writing-*"):
            shutil.rmtree(left, ignore_errors=True)
        part.mkdir(parents=True)
        for name, group in tensors.items():
            save_file({key: tensor.detach().cpu().contiguous() for key, tensor in group.items()}, part / f"{name}.safetensors")
        put_in_place(part, target, {"step": step, **state})
    return target


@contextlib.contextmanager
def writing_errors_named(part: Path, target: Path) -> Iterator[None]:
    """What the disk refuses while `part` is written is said as an error about `target`, and `part` is removed.

    Raises:
        MachineError E902, E904.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        if "No space" in str(error):
            raise MachineError("E902", path=target) from None
        raise of_system(error if isinstance(error, OSError) else OSError(str(error)), target) from None


def put_in_place(part: Path, target: Path, state: dict[str, Any]) -> None:
    """Describe the tensors that were written to `part`, flush them, let the folder take its name, and drop the oldest."""
    files = {path.name: _checksum(path) for path in sorted(part.iterdir())}
    described = {**state, "files": files}
    text = json.dumps({**described, "checksum": _checksum_of(described)})
    (part / "state.json").write_text(text, encoding="utf-8")
    for path in part.iterdir():
        _flush(path)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    _flush(target.parent)
    for old in checkpoints(target.parent)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").exists())


def load_checkpoint(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]] | None:
    """The newest checkpoint that is whole, or None where there is none at all.

    Raises:
        TrainingError E502: there are checkpoints, and every one of them is damaged.
    """
    found = newest_whole(folder)
    return None if found is None else (read_tensors(*found), found[1])


def newest_whole(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The folder of the newest checkpoint whose checksums hold, and its state; None where there is no checkpoint.

    Raises:
        TrainingError E502: there are checkpoints, and every one of them is damaged.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            if state.pop("checksum") != _checksum_of(state):
                continue
            if all(_checksum(path / name) == digest for name, digest in state["files"].items()):
                return path, state
    if found:
        raise TrainingError("E502", path=folder)
    return None


def read_tensors(path: Path, state: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    """The groups of tensors of a checkpoint that one process wrote."""
    return {Path(name).stem: load_file(path / name) for name in state["files"]}


def optimizer_tensors(optimizer: torch.optim.Optimizer, net: nn.Module) -> dict[str, Tensor]:
    """The optimizer's moments under the names of the parameters they belong to."""
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    return {
        f"{names[id(parameter)]}|{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put the moments of `optimizer_tensors` back."""
    parameters = dict(net.named_parameters())
    for full_name, value in tensors.items():
        name, _, key = full_name.rpartition("|")
        parameter = parameters[name]
        # AdamW keeps its step counter on the CPU unless it is fused on an accelerator.
        device = parameter.device if value.ndim or parameter.device.type != "cpu" else torch.device("cpu")
        optimizer.state[parameter][key] = value.to(device)


def weights(net: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer once, by name."""
    return {**dict(net.named_parameters()), **{name: buffer for name, buffer in net.named_buffers() if buffer is not None}}


def restore_weights(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy the tensors of `weights` back into a network of the same shape."""
    with torch.no_grad():
        for name, tensor in weights(net).items():
            if name in tensors:
                tensor.copy_(tensors[name])


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _checksum_of(described: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=16).hexdigest()


def _flush(path: Path) -> None:
    """Make sure that what was written is on the disk before it is renamed."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # folders cannot be opened on Windows
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
    finally:
        os.close(handle)
