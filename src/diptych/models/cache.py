"""Keys and values of texts that are being written, kept so that each new token is read once."""

import torch
from torch import Tensor

# Shapes: B texts, G key-value heads, T capacity in tokens, K head size.


class Cache:
    """Room for `capacity` tokens of each text in every layer, allocated once.

    Attributes:
        lengths: how many tokens of each text are in it; `advance` moves them on after a pass over all layers.
    """

    def __init__(
        self, num_layers: int, num_texts: int, num_heads: int, capacity: int, head_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (num_layers, num_texts, num_heads, capacity, head_size)
        # Zeros, since places that are not written yet are multiplied by a weight of zero, and zero times garbage may be NaN.
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = [0] * num_texts
        self.capacity = capacity

    def write(self, layer: int, text_N: Tensor, positions_N: Tensor, k_NGK: Tensor, v_NGK: Tensor) -> tuple[Tensor, Tensor]:
        """Put new keys and values in their places; the layer's keys and values [B, G, T, K], up to the longest text."""
        self.keys[layer][text_N, :, positions_N] = k_NGK
        self.values[layer][text_N, :, positions_N] = v_NGK
        return self.keys[layer], self.values[layer]

    def advance(self, lengths: tuple[int, ...]) -> None:
        """Count the tokens that were just read."""
        self.lengths = [before + new for before, new in zip(self.lengths, lengths, strict=True)]

    def keep(self, rows: Tensor) -> None:
        """Go on with these texts alone, in this order; a text may be kept several times."""
        self.keys = self.keys[:, rows]
        self.values = self.values[:, rows]
        self.lengths = [self.lengths[row] for row in rows.tolist()]
