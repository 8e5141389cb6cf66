"""Where a run keeps its state: one process writes it before it goes on, several ranks do in the background.

A folder of either kind looks alike: tensors, and `state.json` with their checksums, renamed when it is whole. Each reads what
the other wrote, so a run goes on with any number of ranks.
"""

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from diptych.errors import MachineError
from diptych.training.checkpoint import newest_whole, put_in_place, read_tensors, save_checkpoint, writing_errors_named
from diptych.training.distributed_checkpoint import Groups, cut, flatten, read_together, write_together
from diptych.training.ranks import Ranks


class Keeper:
    """The checkpoints of a process that is alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, tensors: Groups, state: dict[str, Any]) -> None:
        """Write a checkpoint.

        Raises:
            MachineError E902, E904: it cannot be written; the one before still stands.
        """
        save_checkpoint(self.folder, step, tensors, state)

    def wait(self) -> None:
        """Until what was saved last is on the disk."""

    def load(self, net: nn.Module) -> tuple[Groups, dict[str, Any]] | None:
        """The newest whole checkpoint, as `net` holds its weights; None where there is none.

        Raises:
            TrainingError E502: there are checkpoints, and every one of them is damaged.
        """
        found = newest_whole(self.folder)
        return None if found is None else (self._read(*found, dict(net.named_parameters())), found[1])

    def _read(self, path: Path, state: dict[str, Any], pattern: dict[str, nn.Parameter]) -> Groups:
        return read_together(path, pattern) if "ranks" in state else read_tensors(path, state)


class BackgroundKeeper(Keeper):
    """The checkpoints of several ranks, one at a time; every rank calls each method alike."""

    def __init__(self, folder: Path, ranks: Ranks) -> None:
        super().__init__(folder)
        self.ranks = ranks
        # A group of its own: what the background says must not be taken for an answer to what the loop asked.
        self._group = dist.new_group(backend="gloo")
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[MachineError | None] | None = None
        self._copy: dict[str, Tensor] = {}

    def save(self, step: int, tensors: Groups, state: dict[str, Any]) -> None:
        """Begin to write a checkpoint, once the one before is written; a step waits for the copy alone.

        Raises:
            MachineError E902, E904, on the first rank: the one before could not be written.
        """
        problem = self._end()
        self._copy = flatten(tensors, self._copy)
        self._writing = self._pool.submit(self._write, step, self._copy, state)
        if problem is not None:
            raise problem

    def wait(self) -> None:
        problem = self._end()
        if problem is not None:
            raise problem

    def load(self, net: nn.Module) -> tuple[Groups, dict[str, Any]] | None:
        def pack(found: tuple[Path, dict[str, Any]] | None) -> Any:
            return found and [str(found[0]), found[1]]

        def unpack(said: Any) -> tuple[Path, dict[str, Any]] | None:
            return said and (Path(said[0]), said[1])

        found = self.ranks.first_makes(lambda: newest_whole(self.folder), pack, unpack)
        return None if found is None else (self._read(*found, dict(net.named_parameters())), found[1])

    def _read(self, path: Path, state: dict[str, Any], pattern: dict[str, nn.Parameter]) -> Groups:
        if "ranks" in state:
            return read_together(path, pattern, self.ranks.words)
        groups = read_tensors(path, state)
        return {group: {name: cut(name, tensor, pattern) for name, tensor in named.items()} for group, named in groups.items()}

    def _end(self) -> MachineError | None:
        writing, self._writing = self._writing, None
        return writing.result() if writing is not None else None

    def _write(self, step: int, flat: dict[str, Tensor], state: dict[str, Any]) -> MachineError | None:
        part, target = self.folder / ".writing-ranks", self.folder / f"step-{step:08d}"
        if self.ranks.is_first:
            for left in self.folder.glob(".writing-*"):
                shutil.rmtree(left, ignore_errors=True)
        try:
            with writing_errors_named(part, target):
                write_together(part, flat, self._group)
                # Every rank has written when the first one gets here.
                if self.ranks.is_first:
                    put_in_place(part, target, {"step": step, "ranks": self.ranks.count, **state})
        except MachineError as error:
            return error if self.ranks.is_first else None
        return None


def keeper(folder: Path, ranks: Ranks) -> Keeper:
    """The way to keep checkpoints that suits so many ranks."""
    return Keeper(folder) if ranks.is_alone else BackgroundKeeper(folder, ranks)
