"""Where a token stands: rotary angles (Su et al. 2021, "RoFormer", eq. 34, in the half-split layout of Llama and Hugging
Face), and the sinusoids of the original Transformer (Vaswani et al. 2017, section 3.5)."""

import torch
from torch import Tensor


def rotation(positions_N: Tensor, head_size: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each position's angles: two [N, 1, K/2].

    Angles are taken in float32 whatever `dtype` is: bfloat16 cannot tell position 257 from 256.
    """
    exponents = torch.arange(0, head_size, 2, device=positions_N.device, dtype=torch.float32) / head_size
    angles_N1K = (positions_N.float()[:, None] / theta**exponents)[:, None, :]
    return angles_N1K.cos().to(dtype), angles_N1K.sin().to(dtype)


def rotate(x_NHK: Tensor, cos_N1K: Tensor, sin_N1K: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i + K/2}) by its angle."""
    first, second = x_NHK.chunk(2, dim=-1)
    return torch.cat((first * cos_N1K - second * sin_N1K, second * cos_N1K + first * sin_N1K), dim=-1)


def sinusoids(num_positions: int, size: int) -> Tensor:
    """sin and cos of each position's angles, interleaved: PE[p, 2i] = sin(p / 10000^(2i/size)), PE[p, 2i+1] = cos(same)."""
    exponents = torch.arange(0, size, 2, dtype=torch.float32) / size
    angles = torch.arange(num_positions, dtype=torch.float32)[:, None] / 10_000**exponents
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :size]
