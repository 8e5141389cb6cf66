"""The loss of a language head for clipping: a product with the vocabulary's matrix whose gradient is measured unit by unit.

The matrix is the embedding's own where the two are tied, and then a unit's gradient is the sum of what comes back to both ends:
|e + h|² = |e|² + |h|² + 2⟨e, h⟩, and with e_v the embedding's sum for token v and δ_m = p - onehot the gradient by the logits of place m,
⟨e, h⟩ = Σ_v Σ_m δ_m[v] (f_m · e_v), over the tokens that the unit looked up. Opacus refuses tied matrices in its lean mode.
"""

import itertools
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.kernels.ghost import Rows
from diptych.training.private.records import TableRecord, add_to, one

# Shapes: M places, D features, V vocabulary, U units, m places of a unit or a chunk, K tokens that a unit looked up.

KEPT = 1 << 25
"""So many numbers of the gradient by the logits are kept until they are weighed; a larger one is made again."""
AT_ONCE = 512
"""Places whose logits are there at once."""


class LanguageRecord:
    """The passes through a language head.

    Args:
        table: what the embedding keeps of the same matrix, where it is tied and learns.
    """

    def __init__(self, weight: nn.Parameter | None, bias: nn.Parameter | None, table: TableRecord | None) -> None:
        self.weight, self.bias, self.table = weight, bias, table
        self.calls: list[_Call] = []

    def nats(self, features_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, gold_M: Tensor, smoothing: float, rows: Rows) -> Tensor:
        """As `cross_entropy`, leaving here what clipping needs."""
        keeps = self.weight is not None or self.bias is not None
        bias_V = None if bias_V is None else bias_V.detach()
        call = _Call(features_MD.detach(), weight_VD.detach(), bias_V, gold_M, smoothing, rows, keeps=keeps)
        self.calls.append(call)
        return _Watched.apply(features_MD, call)  # type: ignore[no-any-return]

    @property
    def is_empty(self) -> bool:
        return not self.calls

    def squares(self) -> Tensor:
        """[U], what the matrix, its tie and the bias come to, without what the embedding's own end has by itself."""
        first = self.calls[0]
        found_U = torch.zeros(first.rows.num_units, dtype=first.wide, device=first.features_MD.device)
        for unit in range(first.rows.num_units):
            parts = [part for call in self.calls if (part := call.of_unit(unit)) is not None]
            if parts:
                delta_mV, features_mD = (one(each) for each in zip(*parts, strict=True))
                found_U[unit] = self._square(unit, delta_mV, features_mD)
        return found_U

    def add(self, weight_U: Tensor) -> None:
        for call in self.calls:
            for part, delta_mV in call.chunks():
                delta_mV = delta_mV * (call.scale_M[part] * weight_U[call.rows.unit_N[part]]).to(delta_mV.dtype)[:, None]
                if self.weight is not None:
                    add_to(self.weight, delta_mV.T @ call.features_MD[part].to(delta_mV.dtype))
                if self.bias is not None:
                    add_to(self.bias, delta_mV.sum(0, dtype=call.wide))

    def _square(self, unit: int, delta_mV: Tensor, features_mD: Tensor) -> Tensor:
        wide = torch.promote_types(delta_mV.dtype, torch.float32)
        ids_K, sum_KD = self.table.sums.of(unit) if self.table is not None and self.table.sums is not None else (None, None)
        if len(delta_mV) * sum(self._shape(features_mD)) <= self._shape(features_mD)[0] * self._shape(features_mD)[1]:
            by_delta_mm = (delta_mV @ delta_mV.T).to(wide)
            square = by_delta_mm.sum() if self.bias is not None else by_delta_mm.new_zeros(())
            if self.weight is not None:
                square = square + (by_delta_mm * (features_mD @ features_mD.T).to(wide)).sum()
                if ids_K is not None and sum_KD is not None:
                    square = square + 2 * (delta_mV[:, ids_K].to(wide) * (features_mD.to(wide) @ sum_KD.T)).sum()
            return square
        square = delta_mV.sum(0, dtype=wide).square().sum() if self.bias is not None else delta_mV.new_zeros((), dtype=wide)
        if self.weight is not None:
            made_VD = (delta_mV.T @ features_mD).to(wide)
            square = square + made_VD.square().sum()
            if ids_K is not None and sum_KD is not None:
                square = square + 2 * (made_VD[ids_K] * sum_KD).sum()
        return square

    def _shape(self, features_mD: Tensor) -> tuple[int, int]:
        return self.calls[0].weight_VD.shape[0], features_mD.shape[-1]


class _Call:
    """One pass: places with their features, right answers and units."""

    def __init__(
        self,
        features_MD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        gold_M: Tensor,
        smoothing: float,
        rows: Rows,
        *,
        keeps: bool,
    ) -> None:
        dtype = features_MD.dtype
        if torch.is_autocast_enabled(features_MD.device.type):
            dtype = torch.get_autocast_dtype(features_MD.device.type)
        self.features_MD, self.weight_VD = features_MD.to(dtype), weight_VD.to(dtype)
        self.bias_V = None if bias_V is None else bias_V.to(dtype)
        self.gold_M, self.smoothing, self.rows = gold_M, smoothing, rows
        self.wide = torch.promote_types(dtype, torch.float32)
        self.scale_M = torch.zeros(len(gold_M), dtype=self.wide, device=gold_M.device)
        """What came back to the nats of each place."""
        self._delta: list[Tensor] | None = [] if keeps and len(gold_M) * len(weight_VD) <= KEPT else None
        self._whole: Tensor | None = None

    def nats(self) -> tuple[Tensor, Tensor]:
        """(nats of each place, gradient of each by its features)."""
        nats, by_features = [], []
        for start in range(0, len(self.gold_M), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            nats_m, delta_mV = self._make(part)
            nats.append(nats_m)
            by_features.append(delta_mV @ self.weight_VD)
            if self._delta is not None:
                self._delta.append(delta_mV)
        if not nats:
            return self.features_MD.new_zeros(0, dtype=self.wide), torch.zeros_like(self.features_MD)
        return torch.cat(nats), torch.cat(by_features)

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """The gradient by the logits before it is scaled, some places at a time."""
        for start in range(0, len(self.gold_M), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            yield part, self._at(part)

    def of_unit(self, unit: int) -> tuple[Tensor, Tensor] | None:
        """(scaled gradient by the logits, features) of a unit's places; None where it has none."""
        if not self.rows.lengths[unit]:
            return None
        part: slice | Tensor = slice(self._starts[unit], self._starts[unit] + self.rows.lengths[unit])
        if self.rows.order_N is not None:
            part = self.rows.order_N[part]
        delta_mV = self._at(part)
        return delta_mV * self.scale_M[part].to(delta_mV.dtype)[:, None], self.features_MD[part]

    @cached_property
    def _starts(self) -> list[int]:
        """Where the places of each unit begin once they are in order."""
        return [0, *itertools.accumulate(self.rows.lengths)]

    def _at(self, part: slice | Tensor) -> Tensor:
        if self._delta is None:
            return self._make(part)[1]
        if self._whole is None:
            self._whole = self._delta[0] if len(self._delta) == 1 else torch.cat(self._delta)
            self._delta = []
        return self._whole[part]

    def _make(self, part: slice | Tensor) -> tuple[Tensor, Tensor]:
        """(nats, gradient of the nats by the logits) at some places."""
        logits_mV, gold_m1, share = F.linear(self.features_MD[part], self.weight_VD, self.bias_V), self.gold_M[part, None], self.smoothing
        if logits_mV.dtype == torch.bfloat16 and not share:
            # One pass over the logits, as the plain loss has it.
            delta_mV = logits_mV.softmax(-1)
            nats_m = -delta_mV.gather(-1, gold_m1)[:, 0].float().clamp(min=torch.finfo(torch.float32).tiny).log()
        else:
            logs_mV = logits_mV.to(self.wide).log_softmax(-1)
            nats_m = -(1 - share) * logs_mV.gather(-1, gold_m1)[:, 0] - (share * logs_mV.mean(-1) if share else 0)
            delta_mV = logs_mV.exp_() - (share / logs_mV.shape[-1]) if share else logs_mV.exp_()
        delta_mV.scatter_add_(-1, gold_m1, delta_mV.new_full(gold_m1.shape, -(1 - share)))
        return nats_m, delta_mV.to(self.features_MD.dtype)


class _Watched(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features_MD: Tensor, call: _Call) -> Tensor:
        nats_M, by_features_MD = call.nats()
        ctx.call, ctx.dtype = call, features_MD.dtype
        ctx.save_for_backward(by_features_MD)
        return nats_M

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None]:
        (grad_M,) = grads
        (by_features_MD,) = ctx.saved_tensors
        ctx.call.scale_M = grad_M
        return (by_features_MD * grad_M.to(by_features_MD.dtype)[:, None]).to(ctx.dtype), None
