"""What is kept of texts that are being written, so that each new token is read once: keys and values, or a state."""

import math
from collections.abc import Sequence
from mmap import mmap

import torch
from torch import Tensor

from diptych.errors import ModelError
from diptych.models.config import ModelConfig
from diptych.packed import Packed

# Shapes: B texts, G key-value heads, T capacity in tokens, M tokens of the longest source, K head size, D hidden.


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

    def rewind(self, lengths: Sequence[int]) -> None:
        """Forget what was read of each text beyond so many tokens; what lies there is written over before it is seen again."""
        assert all(new <= old for new, old in zip(lengths, self.lengths, strict=True))
        self.lengths = list(lengths)


class Cache(Memory):
    """Room for the keys and values of `capacity` tokens of each text in every layer, allocated once.

    Args:
        like: a weight, whose precision and device they have.
        is_sparse: most of the room may never be used, and takes no memory until it is; the first use of a page takes longer for it.
    """

    def __init__(self, config: ModelConfig, num_texts: int, capacity: int, like: Tensor, *, is_sparse: bool = False) -> None:
        super().__init__(num_texts, capacity)
        num_layers = config.num_decoder_layers or config.num_layers
        shape = (num_layers, num_texts, config.num_kv_heads, capacity, config.head_size)
        zeros = _untouched if is_sparse and like.device.type == "cpu" else torch.zeros
        # Zeros, since places that are not written yet are multiplied by a weight of zero, and zero times garbage may be NaN.
        self.keys, self.values = (zeros(shape, dtype=like.dtype, device=like.device) for _part in range(2))
        self._source: dict[int, tuple[Tensor, Tensor]] = {}
        self._is_real_BM: Tensor | None = None
        self._places: tuple[Packed, list[int], Tensor] | None = None

    def write(self, layer: int, texts: Packed, k_NGK: Tensor, v_NGK: Tensor) -> tuple[Tensor, Tensor]:
        """Put new keys and values in their places; the layer's keys and values, [B, G, T, K] each."""
        text_N = texts.text_N
        if self._places is None or self._places[0] is not texts or self._places[1] != self.lengths:
            # The same for all layers.
            self._places = texts, list(self.lengths), texts.positions_N + torch.tensor(self.lengths, device=text_N.device)[text_N]
        places_N = self._places[2]
        self.keys[layer][text_N, :, places_N] = k_NGK
        self.values[layer][text_N, :, places_N] = v_NGK
        return self.keys[layer], self.values[layer]

    def write_source(self, layer: int, source: Packed, k_MGK: Tensor, v_MGK: Tensor) -> None:
        """Keep what a decoder's layer sees of the texts' sources."""
        self._source[layer] = source.pad(k_MGK).transpose(1, 2), source.pad(v_MGK).transpose(1, 2)
        self._is_real_BM = source.pad(torch.ones_like(source.ids_N, dtype=torch.bool))

    def read_source(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values of the sources [B, G, M, K], and where they are real [B, M]."""
        assert self._is_real_BM is not None
        return *self._source[layer], self._is_real_BM

    def keep(self, rows: Tensor) -> None:
        super().keep(rows)
        self.keys = self.keys[:, rows]
        self.values = self.values[:, rows]
        self._source = {layer: (keys[rows], values[rows]) for layer, (keys, values) in self._source.items()}
        self._is_real_BM = None if self._is_real_BM is None else self._is_real_BM[rows]


def _untouched(shape: tuple[int, ...], *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros that the system makes page by page, when one is first written; torch would write all of them at once."""
    size = math.prod(shape) * dtype.itemsize
    return torch.frombuffer(mmap(-1, size), dtype=torch.uint8).view(dtype).view(shape)


class State(Memory):
    """What a recurrent net remembers of each text: as much of a thousand tokens as of one.

    Attributes:
        vectors: [layers, 1, B, D], or [layers, 2, B, D] for an LSTM's hidden vectors and cells.
    """

    def __init__(self, config: ModelConfig, num_texts: int, capacity: int, like: Tensor) -> None:
        super().__init__(num_texts, capacity)
        num_parts = 2 if config.cell == "lstm" else 1
        self.vectors = torch.zeros(config.num_layers, num_parts, num_texts, config.hidden_size, dtype=like.dtype, device=like.device)

    def rewind(self, lengths: Sequence[int]) -> None:
        assert list(lengths) == self.lengths, "what a state has read cannot be taken out of it"

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
