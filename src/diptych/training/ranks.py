"""Several processes that carry out one run: what a rank must hear from the others, and nothing where a process is alone.

`torchrun` starts the processes, on one machine or many, and each carries out the same recipe. A rank takes its share of the
pieces of every step; counts are added before the forward passes and gradients after them, so the step is the one that a
single process would take, in another order of addition. Whatever decides how the run goes on (the clock, Ctrl-C, a look at
the held-out part) is agreed upon, so all ranks take the same turn. What they tell each other is JSON.
"""

import atexit
import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from diptych import runtime
from diptych.config import differences
from diptych.errors import TrainingError
from diptych.training.sharding import is_sharded

T = TypeVar("T")
PATIENCE = timedelta(days=1)
"""So long may the first rank read and tokenize while the others wait; a rank that dies is noticed by torchrun at once."""
SHORT = 508
"""Bytes of JSON that are exchanged in one go; what is longer takes a second one."""
BUCKET = 1 << 24
"""Numbers that are added over ranks at once: enough to fill a line, few enough not to double the memory."""
NOT_SHARED = {("run", "threads"), ("run", "cache"), ("run", "log_steps")}
"""Settings that each rank may have its own of."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, seen from one of them. Alone, every method gives back what it is given."""

    index: int = 0
    count: int = 1
    local_index: int = 0
    """Among those on the same machine."""
    restarts: int = 0
    """How often torchrun has started all of them again, after one was lost."""
    words: Any = None
    """The group that JSON goes through, by gloo and with patience."""

    @property
    def is_alone(self) -> bool:
        return self.count == 1

    @property
    def is_first(self) -> bool:
        return self.index == 0

    def gather(self, value: Any) -> list[Any]:
        """What every rank has to say, in their order: anything that JSON can hold."""
        if self.is_alone:
            return [value]
        data = json.dumps(value).encode()
        heads = self._all_gather(len(data).to_bytes(4, "little") + data[:SHORT], 4 + SHORT)
        sizes = [int.from_bytes(head[:4], "little") for head in heads]
        longest = max(sizes)
        whole = [head[4:] for head in heads] if longest <= SHORT else self._all_gather(data, longest)
        return [json.loads(each[:size]) for each, size in zip(whole, sizes, strict=True)]

    def of_first(self, value: T) -> T:
        """What the first rank says; the others' `value` is not heard."""
        return self.gather(value if self.is_first else None)[0]

    def any(self, is_so: bool) -> bool:
        """Whether it is so for any rank."""
        return any(self.gather(is_so))

    def sum(self, values: Mapping[str, T]) -> dict[str, T]:
        """The sums over all ranks, by name, added in the order of the ranks so that all get the same bits."""
        total: dict[str, Any] = {}
        for name, value in itertools.chain.from_iterable(said.items() for said in self.gather(dict(values))):
            total[name] = total[name] + value if name in total else value
        return total

    def share(self, pieces: Sequence[T]) -> list[T | None]:
        """This rank's pieces of a step, dealt in turn; None where another rank has a piece and this one has not.

        Every rank gets equally many, since sharded weights are gathered anew for each by all ranks together.
        """
        rounds = -(-len(pieces) // self.count)
        return [pieces[i] if i < len(pieces) else None for i in range(self.index, rounds * self.count, self.count)]

    def number(self, piece: int) -> int:
        """The number that this rank's piece has in the whole step: what dropout is keyed by."""
        return piece * self.count + self.index

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Leave the sum of all ranks' gradients in each; a parameter that only some asked gets one everywhere.

        Sharded parameters are left alone: their gradients were added while they were scattered.
        """
        if self.is_alone:
            return
        plain = [parameter for parameter in parameters if not is_sharded(parameter)]
        missing = self.gather([number for number, parameter in enumerate(plain) if parameter.grad is None])
        unasked = set(missing[0]).intersection(*missing[1:])
        grads = []
        for number, parameter in enumerate(plain):
            if number in unasked:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            grads.append(parameter.grad)
        for bucket in _buckets(grads):
            flat = torch.cat([grad.reshape(-1) for grad in bucket])
            dist.all_reduce(flat)
            for grad, part in zip(bucket, flat.split([grad.numel() for grad in bucket]), strict=True):
                grad.copy_(part.view_as(grad))

    def first_makes(self, make: Callable[[], T], pack: Callable[[T], Any], unpack: Callable[[Any], T]) -> T:
        """What the first rank makes, handed to the others as JSON.

        Where it fails, its error goes on there and the other ranks end without a word.
        """
        if self.is_alone:
            return make()
        made, problem = _try(make) if self.is_first else (None, None)
        self._stop_together(problem)
        said = self.of_first(pack(made) if self.is_first else None)  # type: ignore[arg-type]
        return made if self.is_first else unpack(said)  # type: ignore[return-value]

    def first_does(self, work: Callable[[], None]) -> None:
        """Let the first rank do something while the others wait; they end with it where it fails."""
        self.first_makes(work, lambda _nothing: None, lambda _nothing: None)

    def in_turn(self, make: Callable[[], T]) -> T:
        """What each rank makes, the first before all others and the first of a machine before its neighbours.

        So whatever is kept in a cache is made once, whether machines share it or not.
        """
        if self.is_alone:
            return make()
        mine = 0 if self.is_first else 1 if self.local_index == 0 else 2
        made: T | None = None
        for turn in range(3):
            problem = None
            if turn == mine:
                made, problem = _try(make)
            self._stop_together(problem)
        return made  # type: ignore[return-value]

    def check_recipe(self, recipe: dict[str, Any]) -> None:
        """Whether all ranks were given the same recipe.

        Raises:
            TrainingError E520: one was not.
        """
        recipes = self.gather(recipe)
        for rank, other in enumerate(recipes):
            changed = differences(recipes[0], other, except_for=NOT_SHARED)
            if changed:
                raise TrainingError("E520", rank=rank, changes="; ".join(changed))

    def check_data(self, fingerprint: str) -> None:
        """Whether all ranks train on the same data.

        Raises:
            TrainingError E521: one does not.
        """
        prints = self.gather(fingerprint)
        for rank, other in enumerate(prints):
            if other != prints[0]:
                raise TrainingError("E521", rank=rank, data=other, first=prints[0])

    def check_folder(self, folder: Path) -> None:
        """Whether every rank sees the folder that the first one made.

        Raises:
            TrainingError E523: one does not.
        """
        for rank, is_seen in enumerate(self.gather(folder.is_dir())):
            if not is_seen:
                raise TrainingError("E523", rank=rank, path=folder)

    def _all_gather(self, data: bytes, size: int) -> list[bytes]:
        mine = torch.frombuffer(bytearray(data.ljust(size, b"\0")), dtype=torch.uint8)
        every = [torch.empty_like(mine) for _ in range(self.count)]
        dist.all_gather(every, mine, group=self.words)
        return [each.numpy().tobytes() for each in every]

    def _stop_together(self, problem: BaseException | None) -> None:
        """Raise this rank's problem, or end quietly where it is another's."""
        if self.any(problem is not None):
            raise problem or SystemExit(1)


_here = Ranks()


def here() -> Ranks:
    """The ranks of this process' run; it is alone until `join` has found others."""
    return _here


def join(device: torch.device) -> Ranks:
    """Meet the other processes that torchrun has started; without torchrun there are none.

    Raises:
        TrainingError E524: ranks cannot work together on this kind of device.
    """
    global _here
    if not _here.is_alone or not runtime.is_one_of_several():
        return _here
    if device.type not in ("cpu", "cuda"):
        raise TrainingError("E524", device=device.type)
    local_index = int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda":
        torch.cuda.set_device(local_index)
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    store, index, count = next(dist.rendezvous("env://", timeout=PATIENCE))
    # torchrun keeps the store over a restart; without names of its own a rank would call those who are gone.
    store = dist.PrefixStore(f"start-{restarts}", store)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=index, world_size=count, timeout=PATIENCE)
    atexit.register(_leave)
    words = dist.new_group(backend="gloo", timeout=PATIENCE)
    _here = Ranks(index, count, local_index, restarts, words)
    return _here


def as_lost_rank(error: RuntimeError) -> Exception:
    """The error to raise for one that came out of a run: E522 where another rank did not answer, itself elsewhere."""
    signs = ("Connection closed", "Connection reset", "Timed out", "Broken pipe", "NCCL", "Gloo", "gloo")
    if _here.is_alone or not any(sign in str(error) for sign in signs):
        return error
    return TrainingError("E522", rank=_here.index, problem=str(error).strip().splitlines()[0])


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _try(make: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return make(), None
    except Exception as error:
        return None, error


def _buckets(tensors: list[Tensor]) -> list[list[Tensor]]:
    """Tensors of one type and device together, up to `BUCKET` numbers, in an order that is the same on every rank."""
    buckets: list[list[Tensor]] = []
    for _name, same in itertools.groupby(sorted(tensors, key=_kind), key=_kind):
        size = BUCKET
        for tensor in same:
            if size + tensor.numel() > BUCKET:
                buckets.append([])
                size = 0
            buckets[-1].append(tensor)
            size += tensor.numel()
    return buckets


def _kind(tensor: Tensor) -> tuple[str, str]:
    return str(tensor.dtype), str(tensor.device)
