"""Matrices in eight bits: a quarter of the memory, which is what a processor waits for when it reads one token.

A weight is an integer from -127 to 127 times a scale of its row (its output channel). What comes in is rounded to eight bits as it
comes, by a scale of its own row, and integers are multiplied, by an operator of torch's that is told one scale for the whole of its
input. So each row is brought to [-1, 1] first, and the scale is always the same: a text is read alike beside any other. (The better
known `quantized::linear_dynamic` finds the scale by itself, in the whole of the input, and so must not be used.)
"""

import warnings
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.errors import UsageError

# Shapes: N tokens, I in, O out.

LEVELS = 127
SMALLEST = 1e-12
ROUNDING = {"full": (1 / 127, 128), "narrow": (1 / 63, 64)}
"""By mode: how large a step is from -1 to 1, and which of the unsigned numbers stands for 0."""


class Int8Matrix(nn.Module):
    """A matrix [O, I] in eight bits.

    Attributes:
        int8_OI: the integers. scale_O: what a row of them is multiplied by.
    """

    int8_OI: Tensor
    scale_O: Tensor

    def __init__(self, weight_OI: Tensor) -> None:
        super().__init__()
        scale_O = weight_OI.detach().float().abs().amax(1).clamp_min(SMALLEST) / LEVELS
        int8_OI = (weight_OI.detach().float() / scale_O[:, None]).round().clamp(-LEVELS, LEVELS).to(torch.int8)
        self.register_buffer("int8_OI", int8_OI.contiguous())
        self.register_buffer("scale_O", scale_O)
        self._packed: Any = None

    @property
    def weight(self) -> Tensor:
        """The matrix in float32, made anew each time that it is asked for."""
        return self.int8_OI.float() * self.scale_O[:, None]

    def rows(self, ids_N: Tensor) -> Tensor:
        """[N, I]: some of its rows, as an embedding has them."""
        return self.int8_OI[ids_N].float() * self.scale_O[ids_N][..., None]

    def product(self, x_NI: Tensor, bias_O: Tensor | None = None) -> Tensor:
        """x Wᵀ + b. A row of the answer depends on its row of x alone.

        Raises:
            UsageError E651: a gradient was to go through it.
        """
        if torch.is_grad_enabled() and x_NI.requires_grad:
            raise UsageError("E651")
        mode = fast_mode() if x_NI.device.type == "cpu" else None
        if mode is None:
            return F.linear(x_NI, self.weight.to(x_NI.dtype), None if bias_O is None else bias_O.to(x_NI.dtype))
        if self._packed is None:
            self._packed = _pack(self.int8_OI, self.scale_O)
        flat_NI = x_NI.reshape(-1, x_NI.shape[-1]).float()
        size_N1 = flat_NI.abs().amax(-1, keepdim=True).clamp_min_(SMALLEST)
        y_NO = _multiply(flat_NI / size_N1, self._packed, mode)
        y_NO = y_NO.mul_(size_N1) if bias_O is None else torch.addcmul(bias_O.float(), y_NO, size_N1)
        return y_NO.to(x_NI.dtype).view(*x_NI.shape[:-1], -1)


class Int8Linear(nn.Module):
    """A linear layer whose matrix is in eight bits; its bias stays as it is."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.matrix = Int8Matrix(linear.weight)
        self.bias = linear.bias

    def forward(self, x_NI: Tensor) -> Tensor:
        return self.matrix.product(x_NI, self.bias)

    @property
    def weight(self) -> Tensor:
        return self.matrix.weight

    def product(self, x_NI: Tensor, bias_O: Tensor | None) -> Tensor:
        return self.matrix.product(x_NI, bias_O)


class Int8Embedding(nn.Module):
    """Vectors of tokens in eight bits; the language head that is tied to them multiplies by the same integers."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.matrix = Int8Matrix(embedding.weight)

    def forward(self, ids_N: Tensor) -> Tensor:
        return self.matrix.rows(ids_N)

    @property
    def weight(self) -> Tensor:
        return self.matrix.weight

    def product(self, x_NI: Tensor, bias_O: Tensor | None) -> Tensor:
        return self.matrix.product(x_NI, bias_O)


def is_int8(net: nn.Module) -> bool:
    """Whether any matrix of `net` is in eight bits."""
    return any(isinstance(module, Int8Matrix) for module in net.modules())


def num_weights(net: nn.Module) -> int:
    """How many weights there are, of whatever width."""
    return sum(part.numel() for part in net.parameters()) + sum(
        module.int8_OI.numel() for module in net.modules() if isinstance(module, Int8Matrix)
    )


@cache
def fast_mode() -> str | None:
    """How this processor multiplies integers: "full", "narrow" where sums of full ones overflow, None where torch cannot.

    It is tried on the worst case, in which all products have the same sign and the largest size.
    """
    size = 64
    packed_of = torch.full((size, size), LEVELS, dtype=torch.int8), torch.full((size,), 1 / LEVELS)
    for mode in ROUNDING:
        try:
            y = _multiply(torch.ones(2, size), _pack(*packed_of), mode)
        except (RuntimeError, AttributeError):
            return None
        if bool((y - size).abs().max() < 0.02 * size):
            return mode
    return None


def _multiply(x_NI: Tensor, packed: Any, mode: str) -> Tensor:
    """The product with a packed matrix, where every number of x is between -1 and 1."""
    scale, zero = ROUNDING[mode]
    return torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(x_NI, scale, zero, packed)


def _pack(int8_OI: Tensor, scale_O: Tensor) -> Any:
    """The matrix as the operator wants it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of an interface in Python that is not used here
        zeros_O = torch.zeros(len(scale_O), dtype=torch.int64)
        quantized = torch._make_per_channel_quantized_tensor(int8_OI, scale_O.double(), zeros_O, 0)
        return torch.ops.quantized.linear_prepack(quantized, None)
