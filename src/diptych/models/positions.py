"""Where a token stands: rotary angles, sinusoids, and biases of scores by distance.

Rotary: Su et al. 2021, "RoFormer", eq. 34, in the half-split layout of Llama and Hugging Face. Sinusoids: Vaswani et al.
2017, section 3.5. Biases: ALiBi (Press et al. 2021) and T5's buckets (Raffel et al. 2020, section 2.1).
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from diptych.models.config import ModelConfig

# Shapes: N tokens, T positions, H heads, K head size, P pairs of a head, Q queries, S keys.


def rotation(
    positions_N: Tensor, head_size: int, theta: float, dtype: torch.dtype, scaling: tuple[tuple[str, Any], ...] = ()
) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each position's angles, as `kernels.rotary.rotate` takes them: [N, 1, K] and [N, 1, K/2].

    Angles are taken in float32 whatever `dtype` is: bfloat16 cannot tell position 257 from 256.

    Args:
        scaling: how the angles are stretched, as in `ModelConfig.rope_scaling`.
    """
    exponents = torch.arange(0, head_size, 2, device=positions_N.device, dtype=torch.float32) / head_size
    frequencies, size = 1.0 / theta**exponents, 1.0
    if scaling:
        settings = dict(scaling)
        frequencies, size = SCALINGS[settings["rope_type"]](frequencies, theta, settings)
    angles_N1P = (positions_N.float()[:, None] * frequencies)[:, None, :]
    cos_N1P, sin_N1P = ((part * size).to(dtype) for part in (angles_N1P.cos(), angles_N1P.sin()))
    return cos_N1P.repeat(1, 1, 2), sin_N1P


def _linear(frequencies: Tensor, theta: float, settings: Mapping[str, Any]) -> tuple[Tensor, float]:
    """All positions pressed together (Chen et al. 2023)."""
    return frequencies / settings["factor"], 1.0


def _llama3(frequencies: Tensor, theta: float, settings: Mapping[str, Any]) -> tuple[Tensor, float]:
    """Slow angles are stretched, fast ones left, those between in between (Llama 3.1)."""
    factor, low, high = settings["factor"], settings["low_freq_factor"], settings["high_freq_factor"]
    turns = settings["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    share = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - share) * frequencies / factor + share * frequencies, 1.0


def _yarn(frequencies: Tensor, theta: float, settings: Mapping[str, Any]) -> tuple[Tensor, float]:
    """As llama3, between dimensions that turn beta_fast and beta_slow times; scores grow a little (Peng et al. 2023, eq. 23)."""
    factor, length, half = settings["factor"], settings["original_max_position_embeddings"], len(frequencies)

    def dimension(turns: float) -> float:
        return half * math.log(length / (turns * 2 * math.pi)) / math.log(theta)

    low, high = dimension(settings.get("beta_fast", 32.0)), dimension(settings.get("beta_slow", 1.0))
    if settings.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * half - 1)
    high += 0.001 * (low == high)
    stretched = ((torch.arange(half, device=frequencies.device) - low) / (high - low)).clamp(0, 1)
    size = settings.get("attention_factor") or (0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0)
    return stretched * frequencies / factor + (1 - stretched) * frequencies, size


SCALINGS = {"linear": _linear, "llama3": _llama3, "yarn": _yarn}
"""Hugging Face's `rope_type` -> frequencies and the size of the rotated vectors."""


def sinusoids(num_positions: int, size: int) -> Tensor:
    """sin and cos of each position's angles, interleaved: PE[p, 2i] = sin(p / 10000^(2i/size)), PE[p, 2i+1] = cos(same)."""
    exponents = torch.arange(0, size, 2, dtype=torch.float32) / size
    angles = torch.arange(num_positions, dtype=torch.float32)[:, None] / 10_000**exponents
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :size]


class Sinusoids(nn.Module):
    """A table of positions that does not learn."""

    weight: Tensor

    def __init__(self, num_positions: int, size: int) -> None:
        super().__init__()
        self.register_buffer("weight", sinusoids(num_positions, size))

    def forward(self, positions_N: Tensor) -> Tensor:
        return self.weight[positions_N]


class Alibi(nn.Module):
    """Scores fall with distance, in each head by a slope of its own."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads

    def forward(self, distance_QS: Tensor) -> Tensor:
        """[..., Q, S] distances (query's position - key's) to [..., H, Q, S] biases."""
        above = 2 ** math.ceil(math.log2(self.num_heads))
        slopes = 2.0 ** (-8.0 * torch.arange(1, above + 1, device=distance_QS.device) / above)
        if above != self.num_heads:
            slopes = torch.cat((slopes[1::2], slopes[0::2]))[: self.num_heads]
        return -slopes[:, None, None] * distance_QS[..., None, :, :].abs()


class RelativeBias(nn.Module):
    """T5: each head learns what a distance is worth; small distances one by one, large ones in ever wider buckets."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_buckets, self.max_distance, self.is_causal = config.relative_buckets, config.relative_distance, config.is_causal
        self.table = nn.Embedding(config.relative_buckets, config.num_heads)

    def forward(self, distance_QS: Tensor) -> Tensor:
        """[..., Q, S] distances (query's position - key's) to [..., H, Q, S] biases."""
        buckets, number = torch.zeros_like(distance_QS), self.num_buckets
        if self.is_causal:
            distance = distance_QS.clamp(min=0)
        else:
            number //= 2
            buckets = (distance_QS < 0) * number
            distance = distance_QS.abs()
        exact = number // 2
        far = exact + (distance.float() / exact).log() / math.log(self.max_distance / exact) * (number - exact)
        far = far.clamp(0, number - 1).long()
        bias_QSH = self.table(buckets + torch.where(distance < exact, distance, far))
        return bias_QSH.movedim(-1, -3)


def position_bias(config: ModelConfig) -> nn.Module | None:
    """What the family adds to scores by distance, if anything."""
    kinds = {"alibi": Alibi, "relative": RelativeBias}
    return kinds[config.positions](config) if config.positions in kinds else None
