"""Muon (Jordan et al. 2024): momentum whose directions are all made equally long, for the matrices of a body; AdamW for the rest.

The update of a matrix is the orthogonal matrix nearest to its momentum, which a few Newton-Schulz steps find by products
alone. It is scaled to the size that AdamW's updates have, 0.2 by root mean square (Liu et al. 2025, "Muon is scalable", eq.
4), so that one learning rate serves both. What is several matrices laid together (`Joined`) is made orthogonal matrix by
matrix: together, the longest would decide for the others.
"""

import functools
from collections.abc import Iterable
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn

from diptych.training.adamw import step_adamw
from diptych.training.sharding import full, shared_like

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""The quintic that takes singular values from (0, 1] to about 1 fastest; it ends between 0.7 and 1.2, which is near enough."""
NEWTON_SCHULZ_STEPS = 5
ADAMW_RMS = 0.2
FIRST_MOMENTUM, MOMENTUM_STEPS = 0.85, 300
"""The momentum rises from here over so many steps: early gradients are soon out of date."""
BATCH_ELEMENTS = 1 << 24
"""So many numbers of same-shaped matrices go through Newton-Schulz at once; more would cost memory and win no time."""


class Muon(torch.optim.Optimizer):
    """Muon for the groups that say `is_matrix`, AdamW for the others; moments of both lie in `state`, by parameter.

    Args:
        groups: as torch's, with `is_matrix`, `weight_decay`, and for matrices `parts`: of each parameter, the rows of the matrices in it.
        precision: what Newton-Schulz computes in where it is safe: "float32" or "bfloat16".
        is_cautious: whether the decay is cautious (see `adamw.py`): of the matrices, or of `every` weight that decays.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
        precision: str = "float32",
        is_cautious: Literal["matrices", "every"] | None = "matrices",
    ) -> None:
        self.momentum, self.betas, self.is_cautious = momentum, betas, is_cautious
        self.dtype = torch.bfloat16 if precision == "bfloat16" and is_safe_in_bfloat16() else torch.float32
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, "is_matrix": False})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            if group["is_matrix"]:
                self._step_matrices(group)
            else:
                step_adamw(group, self.state, self.betas, is_cautious=self.is_cautious == "every")

    def _step_matrices(self, group: dict[str, Any]) -> None:
        having = [(matrix, rows) for matrix, rows in zip(group["params"], group["parts"], strict=True) if matrix.grad is not None]
        # A share of a matrix has other singular values than the whole: each rank makes the whole update, and keeps its share of it.
        parts = [part for matrix, rows in having for part in full(self._moved(matrix)).split(rows)]
        orthogonalize(parts, self.dtype)
        lr, ready = group["lr"], iter(parts)
        for matrix, rows in having:
            whole = torch.cat([part * (ADAMW_RMS * max(part.shape) ** 0.5) for part in islice(ready, len(rows))]).to(matrix.dtype)
            update = shared_like(whole, matrix)
            if group["weight_decay"]:
                shrinks = (update * matrix > 0) if self.is_cautious else 1.0
                update.add_(matrix * shrinks, alpha=group["weight_decay"])
            matrix.sub_(update, alpha=lr)

    def _moved(self, matrix: nn.Parameter) -> Tensor:
        """Take the gradient into the momentum; the momentum one step ahead (Nesterov's)."""
        state = self.state[matrix]
        if not state:
            state["step"], state["momentum"] = torch.tensor(0.0), torch.zeros_like(matrix)
        share = min(1.0, float(state["step"]) / MOMENTUM_STEPS)
        momentum = FIRST_MOMENTUM + (self.momentum - FIRST_MOMENTUM) * share
        state["step"] += 1
        assert matrix.grad is not None
        state["momentum"].lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(state["momentum"], momentum)


def orthogonalize(matrices: list[Tensor], dtype: torch.dtype = torch.float32) -> None:
    """Replace each matrix of the list by the nearest orthogonal one, roughly: singular values between 0.7 and 1.2, same vectors.

    Same-shaped matrices go together, since small products alone do not fill a machine.
    """
    alike: dict[tuple[int, int], list[int]] = {}
    for number, matrix in enumerate(matrices):
        alike.setdefault((min(matrix.shape), max(matrix.shape)), []).append(number)
    for (short, long), numbers in alike.items():
        size = max(1, BATCH_ELEMENTS // (short * long))
        for start in range(0, len(numbers), size):
            some = numbers[start : start + size]
            wide = torch.stack([matrices[n] if matrices[n].shape[0] == short else matrices[n].mT for n in some]).to(dtype)
            for number, result in zip(some, _newton_schulz(wide), strict=True):
                matrices[number] = result if matrices[number].shape[0] == short else result.mT


def _newton_schulz(x: Tensor) -> Tensor:
    """[matrices, short, long]; x becomes a x + (b xxᵀ + c (xxᵀ)²) x, several times over."""
    a, b, c = NEWTON_SCHULZ
    x = x / (torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True, dtype=torch.float32) + 1e-7).to(x.dtype)
    for _step in range(NEWTON_SCHULZ_STEPS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x


@functools.cache
def is_safe_in_bfloat16() -> bool:
    """Whether this machine's bfloat16 products keep what Newton-Schulz promises, on matrices with singular values from 1 to 1/100."""
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(4, size, 64, generator=draw))[0] for size in (64, 160))
    matrices = list((left * torch.logspace(0, -2, 64)) @ right.mT)
    orthogonalize(matrices, torch.bfloat16)
    values = torch.linalg.svdvals(torch.stack(matrices).float())
    return bool(torch.isfinite(values).all() and values.min() > 0.5 and values.max() < 1.4)
