"""What is kept of texts that are being written, so that each new token is read once: keys and values, or a state."""

import torch
from torch import Tensor

from diptych.errors import ModelError

# Shapes: B texts, G key-value heads, T capacity in tokens, K head size, D hidden.


class Memory:
    """How far each text has been read, up to `capacity` tokens.

    Attributes:
        lengths: how many tokens of each text are in it; `advance` moves them on after a pass over all layers.
    """

    def __init__(self, num_texts: int, capacity: int) -> None:
        self.lengths = [0] * num_texts
        self.capacity = capacity

    def advance(self, lengths: tuple[int, ...]) -> None:
        """Count the tokens that were just read."""
        self.lengths = [before + new for before, new in zip(self.lengths, lengths, strict=True)]

    def keep(self, rows: Tensor) -> None:
        """Go on with these texts alone, in this order; a text may be kept several times."""
        self.lengths = [self.lengths[row] for row in rows.tolist()]


class Cache(Memory):
    """Room for the keys and values of `capacity` tokens of each text in every layer, allocated once."""

    def __init__(
        self, num_layers: int, num_texts: int, num_heads: int, capacity: int, head_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__(num_texts, capacity)
        shape = (num_layers, num_texts, num_heads, capacity, head_size)
        # Zeros, since places that are not written yet are multiplied by a weight of zero, and zero times garbage may be NaN.
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)

    def write(self, layer: int, text_N: Tensor, positions_N: Tensor, k_NGK: Tensor, v_NGK: Tensor) -> tuple[Tensor, Tensor]:
        """Put new keys and values in their places; the layer's keys and values [B, G, T, K], up to the longest text."""
        self.keys[layer][text_N, :, positions_N] = k_NGK
        self.values[layer][text_N, :, positions_N] = v_NGK
        return self.keys[layer], self.values[layer]

    def keep(self, rows: Tensor) -> None:
        super().keep(rows)
        self.keys = self.keys[:, rows]
        self.values = self.values[:, rows]


class State(Memory):
    """What a recurrent net remembers of each text: as much of a thousand tokens as of one.

    Attributes:
        vectors: [layers, 1, B, D], or [layers, 2, B, D] for an LSTM's hidden vectors and cells.
    """

    def __init__(
        self, num_layers: int, num_parts: int, num_texts: int, size: int, capacity: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__(num_texts, capacity)
        self.vectors = torch.zeros(num_layers, num_parts, num_texts, size, dtype=dtype, device=device)

    def keep(self, rows: Tensor) -> None:
        super().keep(rows)
        self.vectors = self.vectors[:, :, rows]


def check_room(lengths: tuple[int, ...], context_length: int, memory: Memory | None) -> None:
    """Refuse texts that, with what was read of them before, are longer than the model or its memory can hold.

    Raises:
        ModelError E302: one is.
    """
    before = memory.lengths if memory is not None else [0] * len(lengths)
    longest = max(map(sum, zip(before, lengths, strict=True)), default=0)
    limit = context_length if memory is None else min(context_length, memory.capacity)
    if longest > limit:
        raise ModelError("E302", length=longest, limit=limit)
