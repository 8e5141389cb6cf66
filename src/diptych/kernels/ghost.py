"""Norms of gradients that are never made.

The gradient of a matrix by one text is a sum over its tokens, Σ g_n x_nᵀ: what came back to the layer times what went in. Its squared
length is Σ (g_n · g_m)(x_n · x_m) over all pairs of tokens (Goodfellow 2015, "Efficient per-example gradient computations"; for
sequences Li et al. 2022, "Large language models can be strong differentially private learners", section 4), which takes two small
squares of dot products in place of a matrix for every text. Where a text is so long that the squares are the larger ones, its matrix
is made, measured and thrown away (Bu et al. 2022, "mixed ghost clipping").
"""

from functools import cached_property

import torch
from torch import Tensor

from diptych.packed import Block, Packed

# Shapes: U units (what is clipped as one), N rows, S units of like length, T rows of the longest, I in, O out, V table rows, D columns.

MADE_AT_ONCE = 1 << 23
"""Numbers of matrices that are made, measured and thrown away at once."""


class Rows:
    """Which unit each row of a product belongs to.

    Args:
        unit_N: int64, the number of a unit for each row, in any order.
    """

    def __init__(self, unit_N: Tensor, num_units: int) -> None:
        self.unit_N, self.num_units = unit_N, num_units

    def __len__(self) -> int:
        return len(self.unit_N)

    @cached_property
    def order_N(self) -> Tensor | None:
        """What sorts the rows by unit; None where they are."""
        is_sorted = bool((self.unit_N[1:] >= self.unit_N[:-1]).all())
        return None if is_sorted else self.unit_N.argsort(stable=True)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        return tuple(torch.bincount(self.unit_N, minlength=self.num_units).tolist())

    @cached_property
    def blocks(self) -> list[Block]:
        """The units as rectangles of like length, by the plan that attention has for texts."""
        return Packed(torch.arange(len(self), device=self.unit_N.device), self.lengths).blocks if len(self) else []

    def sort(self, x_NI: Tensor) -> Tensor:
        return x_NI if self.order_N is None else x_NI[self.order_N]

    def sums(self, x_ND: Tensor) -> Tensor:
        """The sum over each unit's rows: [U, D], in float32 at least."""
        wide = torch.promote_types(x_ND.dtype, torch.float32)
        if self.order_N is None and len(self) and len(set(self.lengths)) == 1:
            return x_ND.view(self.num_units, -1, x_ND.shape[-1]).sum(1, dtype=wide)
        return x_ND.new_zeros(self.num_units, x_ND.shape[-1], dtype=wide).index_add_(0, self.unit_N, x_ND.to(wide))


def joined(several: list[Rows]) -> Rows:
    """The rows of several passes through one layer as those of one."""
    return several[0] if len(several) == 1 else Rows(torch.cat([rows.unit_N for rows in several]), several[0].num_units)


def linear_squares(x_NI: Tensor, g_NO: Tensor, rows: Rows, *, has_bias: bool = False) -> Tensor:
    """Of each unit the squared length of Σ g_n x_nᵀ, and with `has_bias` of Σ g_n beside it: [U].

    Args:
        x_NI: what went into a linear layer. g_NO: the gradient by what came out of it.
    """
    wide = torch.promote_types(g_NO.dtype, torch.float32)
    found_U = torch.zeros(rows.num_units, dtype=wide, device=g_NO.device)
    x_NI, g_NO = rows.sort(x_NI), rows.sort(g_NO)
    inputs, outputs = x_NI.shape[-1], g_NO.shape[-1]
    for block in rows.blocks:
        x_STI, g_STO = _laid(x_NI, block), _laid(g_NO, block)
        if block.is_real_ST is not None:
            g_STO = g_STO * block.is_real_ST[..., None]
        if block.width == 1:
            squares_S = g_STO.to(wide).square().sum((1, 2)) * (x_STI.to(wide).square().sum((1, 2)) + has_bias)
        elif block.width * (inputs + outputs) <= inputs * outputs:
            seen_STT = torch.bmm(x_STI, x_STI.mT).to(wide)
            squares_S = (torch.bmm(g_STO, g_STO.mT).to(wide) * (seen_STT + 1 if has_bias else seen_STT)).sum((1, 2))
        else:
            squares_S = _made(x_STI, g_STO, wide)
            if has_bias:
                squares_S = squares_S + g_STO.sum(1, dtype=wide).square().sum(1)
        found_U[list(block.texts_S)] = squares_S
    return found_U.clamp_(min=0)


def _made(x_STI: Tensor, g_STO: Tensor, wide: torch.dtype) -> Tensor:
    """The same by making the matrices, some at a time."""
    few = max(1, MADE_AT_ONCE // (x_STI.shape[-1] * g_STO.shape[-1]))
    parts = zip(x_STI.split(few), g_STO.split(few), strict=True)
    return torch.cat([torch.linalg.vector_norm(torch.bmm(g.mT, x), dim=(1, 2), dtype=wide).square() for x, g in parts])


def _laid(x_NI: Tensor, block: Block) -> Tensor:
    """The rows of a block's units: [S, T, I]; empty places hold any row."""
    x_STI = x_NI if block.rows_ST is None else x_NI.index_select(0, block.rows_ST.flatten())
    return x_STI.reshape(block.size, block.width, x_NI.shape[-1])


class TableSums:
    """The gradients of a table of vectors by unit: of each unit one sum for every row of the table that it looked up.

    Args:
        ids_N: which row each look-up took. g_ND: the gradient by what it gave.

    Attributes:
        unit_K, id_K, sum_KD: the units and rows that occur, by unit, and the sums.
    """

    def __init__(self, ids_N: Tensor, g_ND: Tensor, rows: Rows, num_rows: int) -> None:
        wide = torch.promote_types(g_ND.dtype, torch.float32)
        key_K, at_N = torch.unique(rows.unit_N * num_rows + ids_N, return_inverse=True)
        self.unit_K, self.id_K = key_K // num_rows, key_K % num_rows
        self.sum_KD = g_ND.new_zeros(len(key_K), g_ND.shape[-1], dtype=wide).index_add_(0, at_N, g_ND.to(wide))
        self.num_units = rows.num_units

    @cached_property
    def ends(self) -> list[int]:
        """Where the sums of each unit end."""
        return torch.bincount(self.unit_K, minlength=self.num_units).cumsum(0).tolist()

    def squares(self) -> Tensor:
        squares_K = self.sum_KD.square().sum(1)
        return squares_K.new_zeros(self.num_units).index_add_(0, self.unit_K, squares_K)

    def of(self, unit: int) -> tuple[Tensor, Tensor]:
        """(which rows, their sums) of one unit."""
        part = slice(self.ends[unit - 1] if unit else 0, self.ends[unit])
        return self.id_K[part], self.sum_KD[part]
