"""What a pass leaves at each layer for clipping: enough to measure every unit's gradient, and to add them up once they are weighed.

A record is filled during the backward pass and read after it: first `squares`, the squared length that each unit's gradient has in this
layer, then `add`, which leaves Σ c_u g_u in the gradients of its parameters. Nothing is passed through the network twice (Bu et al.
2022, "Differentially private optimization on large model at small cost": book-keeping).
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.kernels.ghost import Rows, TableSums, joined, linear_squares

# Shapes: U units, N rows, I in, O out, D columns, K heads' size.


class Record(Protocol):
    @property
    def is_empty(self) -> bool:
        """Whether nothing came back to this layer."""
        ...

    def squares(self) -> Tensor:
        """[U], the squared length of each unit's gradient in this layer."""
        ...

    def add(self, weight_U: Tensor) -> None:
        """Add the units' gradients, each times its weight, to those of the parameters."""
        ...


class LinearRecord:
    """A matrix, and what is added after it."""

    def __init__(self, weight: nn.Parameter | None, bias: nn.Parameter | None) -> None:
        self.weight, self.bias = weight, bias
        self._x: list[Tensor] = []
        self._g: list[Tensor] = []
        self._rows: list[Rows] = []

    def take(self, x: Tensor, g: Tensor, rows: Rows) -> None:
        """A pass: what went in, and the gradient by what came out."""
        self._g.append(g.reshape(-1, g.shape[-1]))
        self._x.append(x.reshape(-1, x.shape[-1]).to(g.dtype))
        self._rows.append(rows)

    @property
    def is_empty(self) -> bool:
        return not self._g

    def squares(self) -> Tensor:
        self._x, self._g, self._rows = [one(self._x)], [one(self._g)], [joined(self._rows)]
        if self.weight is None:
            return self._rows[0].sums(self._g[0]).square().sum(1)
        return linear_squares(self._x[0], self._g[0], self._rows[0], has_bias=self.bias is not None)

    def add(self, weight_U: Tensor) -> None:
        ((x_NI,), (g_NO,), (rows,)) = self._x, self._g, self._rows
        weight_N1 = weight_U[rows.unit_N].to(g_NO.dtype)[:, None]
        if self.bias is not None:
            add_to(self.bias, (g_NO * weight_N1).sum(0, dtype=torch.promote_types(g_NO.dtype, torch.float32)))
        if self.weight is not None:
            # The smaller of the two is the one that is copied.
            smaller = x_NI.shape[-1] <= g_NO.shape[-1]
            add_to(self.weight, g_NO.T @ (x_NI * weight_N1) if smaller else (g_NO * weight_N1).T @ x_NI)


class NormRecord:
    """The gains and shifts of a norm: small enough to be kept for each unit as they are."""

    def __init__(self, module: nn.Module, weight: nn.Parameter | None, bias: nn.Parameter | None) -> None:
        self.module, self.weight, self.bias = module, weight, bias
        self._gains_UK: Tensor | float = 0.0
        self._shifts_UK: Tensor | float = 0.0

    def take(self, x: Tensor, g: Tensor, rows: Rows) -> None:
        wide = torch.promote_types(x.dtype, torch.float32)
        if self.weight is not None:
            self._gains_UK = self._gains_UK + rows.sums(_by_row(g.to(wide) * _normed(self.module, x.to(wide))))
        if self.bias is not None:
            self._shifts_UK = self._shifts_UK + rows.sums(_by_row(g.to(wide)))

    @property
    def is_empty(self) -> bool:
        return not (isinstance(self._gains_UK, Tensor) or isinstance(self._shifts_UK, Tensor))

    def squares(self) -> Tensor:
        return sum(each.square().sum(1) for each in (self._gains_UK, self._shifts_UK) if isinstance(each, Tensor))  # type: ignore[return-value]

    def add(self, weight_U: Tensor) -> None:
        for parameter, each in ((self.weight, self._gains_UK), (self.bias, self._shifts_UK)):
            if parameter is not None and isinstance(each, Tensor):
                add_to(parameter, weight_U.to(each.dtype) @ each)


class TableRecord:
    """A table of vectors: tokens, positions, token types, buckets of distances."""

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight = weight
        self._ids: list[Tensor] = []
        self._g: list[Tensor] = []
        self._rows: list[Rows] = []
        self._sums: TableSums | None = None

    def take(self, ids: Tensor, g: Tensor, rows: Rows) -> None:
        self._ids.append(ids.flatten())
        self._g.append(g.reshape(-1, g.shape[-1]))
        self._rows.append(rows)

    @property
    def is_empty(self) -> bool:
        return not self._ids and self._sums is None

    @property
    def sums(self) -> TableSums | None:
        """None where nothing came back to the table."""
        if self._sums is None and self._ids:
            self._sums = TableSums(one(self._ids), one(self._g), joined(self._rows), len(self.weight))
            self._ids, self._g = [], []
        return self._sums

    def squares(self) -> Tensor:
        assert self.sums is not None
        return self.sums.squares()

    def add(self, weight_U: Tensor) -> None:
        assert self.sums is not None
        sums = self.sums
        _grad_of(self.weight).index_add_(0, sums.id_K, (sums.sum_KD * weight_U[sums.unit_K, None]).to(self.weight.dtype))


def one(parts: Sequence[Tensor]) -> Tensor:
    """The rows of several passes behind each other; of one, its own, since what a layer keeps is large."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def add_to(parameter: nn.Parameter, value: Tensor) -> None:
    """Add to a parameter's gradient, which may not be there yet."""
    _grad_of(parameter).add_(value)


def _grad_of(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _by_row(x: Tensor) -> Tensor:
    """[N, K] of [N, ..., K]: a norm over each head's queries sums over its heads."""
    return x if x.dim() == 2 else x.flatten(1, -2).sum(1)


def _normed(module: nn.Module, x: Tensor) -> Tensor:
    """What a norm made of `x` before its gain."""
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(x, module.normalized_shape, eps=module.eps)
    assert isinstance(module, nn.RMSNorm)
    return F.rms_norm(x, list(module.normalized_shape), eps=module.eps)
