"""Low-rank adapters (Hu et al. 2022): a frozen matrix and beside it a product of two thin ones, y = W x + s B (A x).

Where one matrix of ours holds several of the family's (queries, keys, values; gate and up), each has an adapter of its own, as
the tools have that keep them apart; the fused matrix stays one product.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diptych.config import nearest
from diptych.errors import TrainingError
from diptych.models.families import FAMILIES
from diptych.models.families.family import their_shapes
from diptych.models.transformer import Network
from diptych.streams import seed_for

# Shapes: N tokens, I in, O out, R rank.


@dataclass(frozen=True)
class Part:
    """A matrix as the family has it: where it lies in ours, and what its folder calls the module."""

    name: str
    """Their module, for example "bert.encoder.layer.0.attention.self.query"."""
    module: str
    """Our module that holds it."""
    start: int
    stop: int
    is_transposed: bool


class LowRank(nn.Module):
    """A linear layer with adapters beside some of its parts; the layer itself is not trained."""

    def __init__(self, linear: nn.Linear, parts: Sequence[Part], dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = linear
        self.parts = tuple(sorted(parts, key=lambda part: part.start))
        self.a_RI = nn.ParameterList()
        self.b_OR = nn.ParameterList()
        self.scales: list[float] = []
        self.dropout = nn.Dropout(dropout)

    def fill(self, a_RI: Sequence[Tensor], b_OR: Sequence[Tensor], scales: Sequence[float]) -> None:
        """Take these matrices, one pair a part."""
        like = self.linear.weight
        self.a_RI = nn.ParameterList(nn.Parameter(a.to(like.device, like.dtype)) for a in a_RI)
        self.b_OR = nn.ParameterList(nn.Parameter(b.to(like.device, like.dtype)) for b in b_OR)
        self.scales = list(scales)

    def forward(self, x_NI: Tensor) -> Tensor:
        y_NO = self.linear(x_NI)
        x_NI = self.dropout(x_NI)
        pieces, at = [], 0
        for part, a_RI, b_OR, scale in zip(self.parts, self.a_RI, self.b_OR, self.scales, strict=True):
            if part.start > at:
                pieces.append(y_NO[..., at : part.start])
            pieces.append(y_NO[..., part.start : part.stop] + (x_NI @ a_RI.T) @ b_OR.T * scale)
            at = part.stop
        if at < y_NO.shape[-1]:
            pieces.append(y_NO[..., at:])
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1)

    @torch.no_grad()
    def add_to_weight(self, sign: float = 1.0) -> None:
        """Add every adapter to the matrix it stands beside, or with -1 take it out again."""
        for part, a_RI, b_OR, scale in zip(self.parts, self.a_RI, self.b_OR, self.scales, strict=True):
            self.linear.weight[part.start : part.stop] += sign * scale * (b_OR @ a_RI)


def parts_of(net: Network) -> list[Part]:
    """Every matrix of a linear layer of `net`, under the name that its family's folders have for it."""
    found = []
    for rule in FAMILIES[net.config.family].rules(net.config, list(net.heads)):
        module = rule.ours.removesuffix(".weight")
        if module == rule.ours or not isinstance(linear := _module(net, module), nn.Linear | LowRank):
            continue
        weight = linear.weight if isinstance(linear, nn.Linear) else linear.linear.weight
        names = [name.removesuffix(".weight") for name in rule.theirs]
        shapes = their_shapes(net.config, rule, weight.shape)
        rows = [shape[0] for shape in shapes] if len(names) > 1 else [len(weight)]
        start = 0
        for name, size in zip(names, rows, strict=True):
            found.append(Part(name, module, start, start + size, rule.is_transposed))
            start += size
    return found


def chosen(parts: Sequence[Part], targets: Sequence[str]) -> list[Part]:
    """The parts that `targets` name by the end of their names, as peft has it; all of the body where none is named.

    Raises:
        TrainingError E534: a target names nothing, with the nearest name.
    """
    if not targets:
        return [part for part in parts if part.module.startswith("body.")]
    for target in targets:
        if not any(is_named(part.name, target) for part in parts):
            ends = {part.name.split(".")[-1] for part in parts if part.module.startswith("body.")}
            raise TrainingError("E534", name=target, hint=nearest(target, ends))
    return [part for part in parts if any(is_named(part.name, target) for target in targets)]


def is_named(name: str, target: str) -> bool:
    """Whether `target` is this module: by its whole name or by the last of its dotted parts."""
    return name == target or name.endswith(f".{target}")


def attach(net: Network, parts: Sequence[Part], rank: int, alpha: float, *, seed: int, dropout: float = 0.0) -> None:
    """Put fresh adapters beside `parts`: A is drawn uniformly, B is 0, so that the network answers as before.

    A is drawn as a linear layer is (Kaiming, a = √5), which is what peft does.
    """
    for module, some in _by_module(parts):
        linear = net.get_submodule(module)
        assert isinstance(linear, nn.Linear)
        layer = LowRank(linear, some, dropout)
        a_RI = []
        for part in layer.parts:
            draw = torch.Generator().manual_seed(seed_for(seed, "low rank", part.name))
            bound = 1 / math.sqrt(linear.in_features)
            a_RI.append(torch.empty(rank, linear.in_features).uniform_(-bound, bound, generator=draw))
        layer.fill(a_RI, [torch.zeros(part.stop - part.start, rank) for part in layer.parts], [alpha / rank] * len(layer.parts))
        net.set_submodule(module, layer)


def adapters(net: Network) -> Iterator[tuple[str, LowRank]]:
    """Every layer of `net` that has adapters, by its name."""
    for name, module in list(net.named_modules()):
        if isinstance(module, LowRank):
            yield name, module


def detach(net: Network, *, merge: bool) -> None:
    """Take the adapters away, with what they have learnt added to the matrices or not."""
    for name, layer in list(adapters(net)):
        if merge:
            layer.add_to_weight()
        net.set_submodule(name, layer.linear)


def _by_module(parts: Sequence[Part]) -> Iterator[tuple[str, list[Part]]]:
    for module in dict.fromkeys(part.module for part in parts):
        yield module, [part for part in parts if part.module == module]


def _module(net: Network, name: str) -> nn.Module | None:
    try:
        return net.get_submodule(name)
    except AttributeError:
        return None
